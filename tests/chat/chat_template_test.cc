#include "talpa/chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace talpa::chat {
namespace {

using ::testing::HasSubstr;

OrderedJson user_says(const std::string& text) { return {{{"role", "user"}, {"content", text}}}; }

std::string text_of_template(const std::string& source, const OrderedJson& variables = {{"x", 1}}) {
  return ChatTemplate(source).render_variables(variables);
}

std::string error_of(const std::string& source, ErrorCode code = ErrorCode::kFormat) {
  try {
    text_of_template(source);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "none";
}

constexpr const char* kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

TEST(ChatTemplate, RendersMessages) {
  EXPECT_EQ(render_chat(kChatMl, user_says("Hi")),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render_chat(kChatMl, user_says("Hi"), {.add_generation_prompt = false}),
            "<|im_start|>user\nHi<|im_end|>\n");
}

TEST(ChatTemplate, OptionsAreVariables) {
  ChatOptions options;
  options.bos_token = "<s>";
  options.extra = {{"thinking", true}};
  options.tools = OrderedJson::parse(R"([{"z": 1, "a": "B"}])");
  EXPECT_EQ(render_chat("{{ bos_token }}{{ eos_token }}{{ thinking }}{{ tools | tojson }}",
                        OrderedJson::array(), options),
            "<s>True[{\"z\": 1, \"a\": \"B\"}]");
}

TEST(ChatTemplate, UnorderedJsonIsTaken) {
  const Json messages = Json::parse(R"([{"role": "user", "content": "Hi"}])");
  EXPECT_EQ(render_chat("{{ messages[0].content }}", messages), "Hi");
}

RC_GTEST_PROP(ChatTemplate, WhatUsersSayIsNeverSyntax, ()) {
  const auto pieces = *rc::gen::container<std::vector<std::string>>(
      rc::gen::element<std::string>("{{", "}}", "{%", "%}", "{#", "#}", "-", "\n", " ", "x", "'",
                                    "raw", "<|im_end|>", "</s>", "{{ 1/0 }}", "{% if %}", "\\"));
  std::string text;
  for (const auto& piece : pieces) text += piece;
  RC_ASSERT(render_chat(kChatMl, user_says(text), {.add_generation_prompt = false}) ==
            "<|im_start|>user\n" + text + "<|im_end|>\n");
  RC_ASSERT(text_of_template("{% set y %}{{ t }}{% endset %}{{ y }}", {{"t", text}}) == text);
}

TEST(ChatTemplate, TextThatIsNotUtf8IsRepaired) {
  EXPECT_EQ(render_chat("{{ messages[0].content }}", user_says("a\xff")), "a\xef\xbf\xbd");
}

TEST(ChatTemplate, RaisedExceptionsAreTheCallersFault) {
  const std::string message = error_of("a\n {{ raise_exception('roles!') }}", ErrorCode::kUsage);
  EXPECT_THAT(message, HasSubstr("roles!"));
  EXPECT_THAT(message, HasSubstr("line 2, column 20"));
}

TEST(ChatTemplate, ErrorsNameTheirPlace) {
  EXPECT_THAT(error_of("\n\n{{ x + 'a' }}"), HasSubstr("line 3, column 6: unsupported operand"));
  EXPECT_THAT(error_of("{{ nope.a }}"), HasSubstr("line 1, column 9: 'nope' is undefined"));
  EXPECT_THAT(error_of("{% if x %}\n{% endfor %}"), HasSubstr("line 2, column 4"));
  EXPECT_THAT(error_of("a {{ x"), HasSubstr("line 1, column 3: a tag that is not closed"));
  EXPECT_THAT(error_of("{{ 'abc }}"), HasSubstr("line 1, column 4: a string"));
  EXPECT_THAT(error_of("{{ x ? }}"), HasSubstr("line 1, column 6: unexpected character"));
  EXPECT_THAT(error_of("{# a"), HasSubstr("a comment that is not closed"));
  EXPECT_THAT(error_of("{% frobnicate %}"), HasSubstr("unknown statement 'frobnicate'"));
  EXPECT_THAT(error_of("{{ x | nope }}"), HasSubstr("No filter named 'nope'"));
  EXPECT_THAT(error_of("{{ [].append(1) }}"), HasSubstr("would change a value"));
  EXPECT_THAT(error_of("{% include 'a' %}", ErrorCode::kUnsupported), HasSubstr("'include'"));
}

TEST(ChatTemplate, WhiteSpaceIsTrimmedAsTransformersDoes) {
  EXPECT_EQ(text_of_template("{% if x %}\na\n{% endif %}\nb"), "a\nb");
  EXPECT_EQ(text_of_template("  {% if x %}\n  a\n  {% endif %}b\n"), "  a\nb");
  EXPECT_EQ(text_of_template("a  {{- x -}}  b"), "a1b");
  EXPECT_EQ(text_of_template("  {{ x }}\n\n"), "  1\n");
  EXPECT_EQ(text_of_template("  {%+ if x %}a{% endif +%}\nb"), "  a\nb");
  EXPECT_EQ(text_of_template("a {# c #}\nb {#- c -#} c"), "a bc");
  EXPECT_EQ(text_of_template("a\r\nb{% if x %}\r\nc{% endif %}"), "a\nbc");
  EXPECT_EQ(text_of_template("{% raw %}{{ x }}{% endraw %}"), "{{ x }}");
}

TEST(ChatTemplate, HostileTemplatesEnd) {
  const std::string loop = "{% for i in range(100000) %}";
  const std::string end = "{% endfor %}";
  EXPECT_THAT(error_of(loop + loop + "{% set y = 1 %}" + end + end), HasSubstr("too many steps"));
  EXPECT_THAT(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("deeper"));
  EXPECT_THAT(error_of("{% set n = namespace(v=[1]) %}" + loop + "{% set n.v = [n.v] %}" + end),
              HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{% set n = namespace(v=[1]) %}" + loop + "{% set n.v = n.v + n.v %}" + end),
              ::testing::AnyOf(HasSubstr("larger"), HasSubstr("too many steps")));
  EXPECT_THAT(error_of("{{ 'a' * 1000000000000 }}"), HasSubstr("longer than"));
  EXPECT_THAT(error_of("{{ 'a'.rjust(1000000000000) }}"), HasSubstr("longer than"));
  EXPECT_THAT(error_of("{{ range(1000000) }}"), HasSubstr("Range too big"));
}

std::string repeated(std::size_t count, const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(ChatTemplate, DeepTemplatesAreRefused) {
  using Pieces = std::pair<const char*, const char*>;
  for (const auto& [open, close] : {Pieces{"(", ")"},
                                    {"[", "]"},
                                    {"{1:", "}"},
                                    {"not ", ""},
                                    {"-", ""},
                                    {"x[", "]"},
                                    {"x(", ")"},
                                    {"x|trim(", ")"}})
    EXPECT_THAT(error_of("{{ " + repeated(50000, open) + "x" + repeated(50000, close) + " }}"),
                HasSubstr("nested deeper"))
        << open;
  for (const char* piece : {"+x", ".a", "|trim", "[0]", "~x", " and x", " if x", "()"})
    EXPECT_THAT(error_of("{{ x" + repeated(100000, piece) + " }}"), HasSubstr("levels")) << piece;
  EXPECT_THAT(error_of(repeated(100000, "{% if x %}")), HasSubstr("nested deeper"));
}

TEST(ChatTemplate, MacrosOutliveTheirBlocks) {
  EXPECT_EQ(text_of_template("{% set n = namespace() %}{% for i in [1, 2] %}{% with y = i %}"
                             "{% macro m() %}{{ y }}{% endmacro %}{% set n.m = m %}{% endwith %}"
                             "{% endfor %}{{ n.m() }}"),
            "2");
}

TEST(ChatTemplate, NamespacesMayHoldThemselves) {
  EXPECT_EQ(text_of_template("{% set n = namespace() %}{% set n.n = n %}{{ n.n.n == n }}"), "True");
}

}  // namespace
}  // namespace talpa::chat
