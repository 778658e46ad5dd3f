#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "scratch.h"
#include "talpa/chat/chat_template.h"

namespace talpa::chat {
namespace {

std::vector<OrderedJson> read_lines(const std::string& name) {
  std::ifstream file(testing::golden("chat/" + name));
  std::vector<OrderedJson> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(OrderedJson::parse(line));
  return lines;
}

std::string read_template(const std::string& name) {
  std::ifstream file(testing::golden("chat/templates/" + name + ".jinja"), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What jinja2 made of templates (tests/chat/make_golden.py), null where it refused.
class ChatGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
    options_.now = std::chrono::system_clock::from_time_t(all_.at("now").get<std::time_t>());
  }

  OrderedJson rendered(const std::string& source, const OrderedJson& variables) const {
    try {
      return ChatTemplate(source).render_variables(variables, options_);
    } catch (const Error&) {
      return nullptr;
    }
  }

  const OrderedJson all_ = read_lines("variables.json").at(0);
  ChatOptions options_;
};

TEST_F(ChatGolden, SnippetsAreRenderedAsByJinja) {
  const auto snippets = read_lines("snippets.jsonl");
  ASSERT_GE(snippets.size(), 200u);
  for (const OrderedJson& snippet : snippets)
    EXPECT_EQ(rendered(snippet.at("template"), all_.at("snippets")), snippet.at("text"))
        << snippet.at("template");
}

TEST_F(ChatGolden, TemplatesAreRenderedAsByJinja) {
  const auto cases = read_lines("cases.jsonl");
  ASSERT_GE(cases.size(), 13u);
  for (const OrderedJson& one : cases) {
    const std::string source = read_template(one.at("template"));
    std::size_t place = 0;
    for (const OrderedJson& messages : all_.at("conversations"))
      for (OrderedJson variables : all_.at("options")) {
        variables["messages"] = messages;
        EXPECT_EQ(rendered(source, variables), one.at("texts").at(place++))
            << one.at("template") << ": " << variables;
      }
    EXPECT_EQ(place, one.at("texts").size());
  }
}

}  // namespace
}  // namespace talpa::chat
