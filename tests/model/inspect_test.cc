#include "talpa/model/inspect.h"

#include <gmock/gmock.h>

#include "model/checkpoint.h"

namespace talpa {
namespace {

using namespace talpa::testing;

TEST(Inspect, SaysWhatAModelIs) {
  const Json report = inspect_report(open_model(golden_model("mixtral")));
  EXPECT_EQ(report.at("family"), "mixtral");
  EXPECT_EQ(report.at("format"), "hf");
  EXPECT_EQ(report.at("experts").at("num_moe_layers"), 2);
  EXPECT_EQ(report.at("kv_bytes_per_token"), 2 * 2 * 2 * 8 * 2);
  EXPECT_EQ(report.at("stored_bytes"), 2 * report.at("total_params").get<std::int64_t>());
  EXPECT_EQ(report.at("stored_types").at("bf16"), report.at("stored_bytes"));
}

TEST(Inspect, TellsEverySettingAndWhyOneIsRefused) {
  const Json rows = inspect_report(published_models().front().config).at("latent_settings");
  std::set<std::string> kinds;
  std::set<int> groups;
  int refused = 0;
  for (const Json& row : rows) {
    kinds.insert(row.at("kind").get<std::string>());
    groups.insert(row.at("group_size").get<int>());
    const bool expands = row.at("storage").get<double>() >= 1;
    EXPECT_EQ(expands, !row.at("refusal").is_null()) << row.dump();
    refused += expands;
  }
  EXPECT_THAT(kinds, ::testing::ElementsAre("gate+up", "gate+up+down", "low-rank bases",
                                            "mixed bases", "single latent"));
  EXPECT_THAT(groups, ::testing::ElementsAre(1, 2, 4, 8, 16, 32, 64, 128));
  EXPECT_EQ(refused, 0);
}

TEST(Inspect, RefusesBasesThatGrow) {
  DecoderConfig config = published_models().front().config;
  config.dim = 1024;  // experts of 768: a quarter of their width as rank is too much
  const Json report = inspect_report(config);
  for (const Json& row : report.at("latent_settings"))
    if (row.at("kind") == "low-rank bases") {
      const bool refused = !row.at("refusal").is_null();
      EXPECT_EQ(refused, row.at("storage").get<double>() >= 1) << row.dump();
      if (refused) {
        EXPECT_THAT(row.at("refusal").get<std::string>(),
                    ::testing::HasSubstr("with group_size = 1 basis_rank must be at most 1"));
      }
    }
}

TEST(Inspect, RefusesSettingsOfAModelWhoseExpertsAreWide) {
  const Json rows = inspect_report(open_model(golden_model("mixtral"))).at("latent_settings");
  ASSERT_FALSE(rows.empty());
  EXPECT_THAT(rows[0].at("refusal").get<std::string>(),
              ::testing::HasSubstr("latent_dim must be below 19.2"));
}

TEST(Inspect, ADenseModelHasNoSettings) {
  const Json report = inspect_report(open_model(golden_model("llama")));
  EXPECT_FALSE(report.contains("latent_settings"));
  EXPECT_TRUE(report.at("experts").is_null());
}

}  // namespace
}  // namespace talpa
