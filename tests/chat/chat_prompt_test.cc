#include "talpa/chat/chat_prompt.h"

#include <gtest/gtest.h>

namespace talpa::chat {
namespace {

std::shared_ptr<const Tokenizer> carried_tokenizer() {
  return Tokenizer::from_file(TALPA_SOURCE_DIR "/models/tokenizer-4k/tokenizer.json");
}

std::string special_text(const Tokenizer& tokenizer) {
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.is_special(id)) return tokenizer.token(id);
  return {};
}

std::vector<TokenId> specials_of(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::vector<TokenId> found;
  for (const TokenId id : ids)
    if (tokenizer.is_special(id)) found.push_back(id);
  return found;
}

TEST(ChatPrompt, SpecialTokensOfMessagesStayText) {
  const auto tokenizer = carried_tokenizer();
  const std::string special = special_text(*tokenizer);
  ASSERT_FALSE(special.empty());
  const ChatTemplate chat_template("{% for m in messages %}" + special +
                                   "{{ m.role }}: {{ m.content | trim }}\n{% endfor %}" + special);
  for (const std::string& text :
       {std::string("hello"), special, special + special, "a" + special + "b", " " + special + " x",
        special.substr(0, 3) + special, "\xea\x80\x80\xea\x80\x81 " + special, std::string()}) {
    SCOPED_TRACE(text);
    const OrderedJson messages = {{{"role", "user"}, {"content", text}}};
    const auto ids = chat_prompt(chat_template, *tokenizer, messages);
    EXPECT_EQ(specials_of(*tokenizer, ids).size(), 2u);
    EXPECT_EQ(tokenizer->decode(ids, false), chat_template.render(messages));
  }
}

TEST(ChatPrompt, SpecialTokensOfToolsKeysAndVariablesStayText) {
  const auto tokenizer = carried_tokenizer();
  const std::string special = special_text(*tokenizer);
  const ChatTemplate chat_template(
      special +
      "{{ tools | tojson }}{% for m in messages %}{{ m.role }}: {{ m.tool_calls | tojson }}{% for "
      "k, v "
      "in m.tool_calls[0].items() %}{{ k }}={{ v }}{% endfor %}{% endfor %}{{ documents }}");
  const OrderedJson messages = {
      {{"role", "user"}, {"tool_calls", {{{"a" + special, 1}, {special, {{special, special}}}}}}}};
  ChatOptions options;
  options.tools = {{{"name", special}, {"parameters", {{special + "b", {special, 2, nullptr}}}}}};
  options.extra = {{"documents", {{"text", "x" + special}}}};
  const auto ids = chat_prompt(chat_template, *tokenizer, messages, options);
  EXPECT_EQ(specials_of(*tokenizer, ids).size(), 1u);
  EXPECT_EQ(tokenizer->decode(ids, false), chat_template.render(messages, options));
}

TEST(ChatPrompt, IsTheTextsOwnIdsWhereNothingIsSpecial) {
  const auto tokenizer = carried_tokenizer();
  const ChatTemplate chat_template("Q: {{ messages[0].content }} A:");
  const OrderedJson messages = {{{"role", "user"}, {"content", "What is a mole?"}}};
  EXPECT_EQ(chat_prompt(chat_template, *tokenizer, messages),
            tokenizer->encode("Q: What is a mole? A:", false, true));
}

}  // namespace
}  // namespace talpa::chat
