#include "talpa/base/config.h"

#include <gtest/gtest.h>

#include "scratch.h"
#include "talpa/base/file.h"

namespace talpa {

enum class Colour { kRed, kBlue };
template <>
struct EnumNames<Colour> {
  static constexpr std::pair<Colour, const char*> table[] = {{Colour::kRed, "red"},
                                                             {Colour::kBlue, "blue"}};
};

namespace {

struct Inner {
  int top_k = 2;
  std::vector<int> layers;
  static constexpr auto fields() {
    return std::tuple{field("top_k", &Inner::top_k, "experts a token"),
                      field("layers", &Inner::layers, "some layers")};
  }
  void validate(const std::string& path) const {
    if (top_k > 8) fail(ErrorCode::kConfig, "{}.top_k = {} exceeds 8", path, top_k);
  }
  bool operator==(const Inner&) const = default;
};

struct Outer {
  bool flag = false;
  std::int8_t small = 1;
  double rate = 0.5;
  std::string name = "a \"quoted\" name";
  Colour colour = Colour::kRed;
  std::optional<int> limit;
  Inner moe;
  std::vector<Inner> stages;
  static constexpr auto fields() {
    using C = Outer;
    return std::tuple{field("flag", &C::flag, "a flag"),       field("small", &C::small, "small"),
                      field("rate", &C::rate, "a rate"),       field("name", &C::name, "a name"),
                      field("colour", &C::colour, "a colour"), field("limit", &C::limit, "a limit"),
                      field("moe", &C::moe, "experts"),        field("stages", &C::stages, "many")};
  }
  bool operator==(const Outer&) const = default;
};

Outer sample() {
  Outer value;
  value.flag = true;
  value.small = -7;
  value.rate = 1e-5;
  value.colour = Colour::kBlue;
  value.limit = 3;
  value.moe = {.top_k = 4, .layers = {1, 2}};
  value.stages = {{.top_k = 1}, {.top_k = 3, .layers = {9}}};
  return value;
}

TEST(Config, SurvivesJsonAndToml) {
  for (const Outer& value : {Outer{}, sample()}) {
    const Json json = config_to_json(value);
    EXPECT_EQ(config_from<Outer>(json), value);
    EXPECT_EQ(config_from<Outer>(parse_json(json.dump(), "test")), value);
    EXPECT_EQ(config_from<Outer>(parse_toml(write_toml(json), "test")), value);
  }
}

TEST(Config, KeepsDefaultsOfAbsentKeys) {
  const auto value = config_from<Outer>(parse_toml("rate = 2.0\n[moe]\ntop_k = 3", "test"));
  EXPECT_EQ(value.rate, 2.0);
  EXPECT_EQ(value.moe.top_k, 3);
  EXPECT_EQ(value.name, Outer{}.name);
}

struct BadCase {
  const char* toml;
  const char* message;
};
class ConfigErrors : public ::testing::TestWithParam<BadCase> {};
TEST_P(ConfigErrors, NamePathAndExpectation) {
  const Json json = parse_toml(GetParam().toml, "test");
  EXPECT_TALPA_ERROR(config_from<Outer>(json), kConfig, GetParam().message);
}
INSTANTIATE_TEST_SUITE_P(
    Cases, ConfigErrors,
    ::testing::Values(
        BadCase{"moe = {top_kk = 1}", "unknown setting moe.top_kk; did you mean moe.top_k?"},
        BadCase{"entirely_else = 1", "unknown setting entirely_else"},
        BadCase{"colour = 'green'", "colour: expected one of red, blue, got \"green\""},
        BadCase{"flag = 1", "flag: expected true or false, got 1"},
        BadCase{"small = 300", "small: expected an integer that fits, got 300"},
        BadCase{"small = 1.5", "small: expected an integer, got 1.5"},
        BadCase{"rate = 'x'", "rate: expected a number, got \"x\""},
        BadCase{"name = 3", "name: expected a string, got 3"},
        BadCase{"moe = 3", "moe: expected a table, got 3"},
        BadCase{"moe = {layers = [1, 'b']}", "moe.layers[1]: expected an integer, got \"b\""},
        BadCase{"stages = [{top_k = 1}, {top_k = 9}]", "stages[1].top_k = 9 exceeds 8"}));

TEST(Config, SettingsReachNestedValues) {
  Json json = Json::object();
  for (const char* setting :
       {"moe.top_k=5", "name=plain text", "rate = 0.25", "moe.layers=[3,4]", "colour='blue'"})
    apply_setting(json, setting);
  const auto value = config_from<Outer>(json);
  EXPECT_EQ(value.moe, (Inner{.top_k = 5, .layers = {3, 4}}));
  EXPECT_EQ(value.name, "plain text");
  EXPECT_EQ(value.rate, 0.25);
  EXPECT_EQ(value.colour, Colour::kBlue);
}

TEST(Config, RefusesBadSettings) {
  Json json = {{"name", "x"}};
  EXPECT_TALPA_ERROR(apply_setting(json, "novalue"), kUsage, "expected NAME=VALUE");
  EXPECT_TALPA_ERROR(apply_setting(json, "=3"), kUsage, "expected NAME=VALUE");
  EXPECT_TALPA_ERROR(apply_setting(json, "name.inner=3"), kUsage, "not inside a table");
}

TEST(Config, SyntaxErrorsNameThePlace) {
  EXPECT_TALPA_ERROR(parse_toml("a = 1\nb = [", "r.toml"), kConfig, "r.toml:2");
  EXPECT_TALPA_ERROR(parse_toml("when = 2020-01-01", "r.toml"), kConfig, "not settings");
  EXPECT_TALPA_ERROR(parse_json("{\"a\": }", "c.json"), kFormat, "c.json: not JSON at byte 7");
  EXPECT_TALPA_ERROR(parse_json(std::string(5000, '['), "c.json"), kFormat, "nested deeper");
}

TEST(Config, FileErrorsNameThePath) {
  const testing::Scratch scratch;
  EXPECT_TALPA_ERROR(read_toml(scratch / "none.toml"), kNotFound, "none.toml");
  write_text(scratch / "bad.json", "nope");
  EXPECT_TALPA_ERROR(read_json(scratch / "bad.json"), kFormat, "bad.json");
}

TEST(Config, ListsSettingsWithDefaults) {
  const auto rows = settings_of<Outer>();
  const auto top_k = std::find_if(rows.begin(), rows.end(),
                                  [](const SettingHelp& row) { return row.path == "moe.top_k"; });
  ASSERT_NE(top_k, rows.end());
  EXPECT_EQ(top_k->default_value, "2");
  EXPECT_EQ(top_k->help, "experts a token");
}

TEST(NearestName, FindsTyposOnly) {
  const std::vector<std::string> names = {"generate", "tokenize", "eval"};
  EXPECT_EQ(nearest_name("generat", names), "generate");
  EXPECT_EQ(nearest_name("tokenise", names), "tokenize");
  EXPECT_EQ(nearest_name("xyzzy", names), "");
}

}  // namespace
}  // namespace talpa
