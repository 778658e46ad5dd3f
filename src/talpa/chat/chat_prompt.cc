#include "talpa/chat/chat_prompt.h"

#include <algorithm>
#include <cstdint>

#include "talpa/base/error.h"

namespace talpa::chat {

namespace {

/// A character of three bytes in UTF-8.
std::string character_of(std::uint32_t code) {
  return {static_cast<char>(0xe0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3f)),
          static_cast<char>(0x80 | (code & 0x3f))};
}

/// A copy with all strings changed, those of keys too.
template <class Change>
OrderedJson changed(const OrderedJson& json, const Change& change) {
  if (json.is_string()) return change(json.get_ref<const std::string&>());
  if (!json.is_structured()) return json;
  OrderedJson copy(json.type());
  for (const auto& [key, value] : json.items()) {
    if (json.is_array())
      copy.push_back(changed(value, change));
    else
      copy[change(key)] = changed(value, change);
  }
  return copy;
}

/// A mark that does not stand in the text: a letter of the Yi script, which no template writes, and
/// which nothing changes or escapes, as it would a private character.
std::string unused_mark(const std::string& text) {
  for (std::uint32_t code = 0xa000; code < 0xa48d; ++code) {
    std::string mark = character_of(code);
    if (text.find(mark) == std::string::npos) return mark;
  }
  fail(ErrorCode::kUnsupported, "the messages contain every letter of the Yi script");
}

/// All that strangers wrote.
std::string dumped(const OrderedJson& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, OrderedJson::error_handler_t::replace);
}

/// Texts of special tokens, the longest first.
std::vector<std::string> special_texts(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.is_special(id) && tokenizer.token(id).size() > 1)
      texts.push_back(tokenizer.token(id));
  std::stable_sort(texts.begin(), texts.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  return texts;
}

const std::string* text_at(const std::vector<std::string>& texts, std::string_view text) {
  for (const std::string& special : texts)
    if (text.starts_with(special)) return &special;
  return nullptr;
}

/// Puts the mark behind the first byte of every special token's text, which is ASCII.
std::string mark_specials(const std::vector<std::string>& texts, const std::string& mark,
                          const std::string& text) {
  std::string marked;
  for (std::size_t i = 0; i < text.size();) {
    const std::string* special = text_at(texts, std::string_view(text).substr(i));
    if (special == nullptr || static_cast<unsigned char>(text[i]) >= 0x80) {
      marked += text[i++];
      continue;
    }
    marked += text[i] + mark + special->substr(1);
    i += special->size();
  }
  return marked;
}

}  // namespace

std::vector<TokenId> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                 const OrderedJson& messages, const ChatOptions& options) {
  const std::string mark =
      unused_mark(dumped(messages) + dumped(options.tools) + dumped(options.extra));
  const std::vector<std::string> texts = special_texts(tokenizer);
  auto marked = [&](const OrderedJson& json) {
    return changed(json, [&](const std::string& text) { return mark_specials(texts, mark, text); });
  };
  ChatOptions marked_options = options;
  marked_options.tools = marked(options.tools);
  marked_options.extra = marked(options.extra);
  const std::string rendered = chat_template.render(marked(messages), marked_options);

  std::vector<TokenId> ids;
  auto append = [&](std::string_view text, bool parse_special) {
    if (text.empty()) return;
    const auto more = tokenizer.encode(text, /*add_special=*/false, parse_special);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  std::size_t done = 0;
  for (std::size_t at = rendered.find(mark); at != std::string::npos;
       at = rendered.find(mark, done)) {
    const std::size_t start = at > done ? at - 1 : at;
    append(std::string_view(rendered).substr(done, start - done), true);
    std::string plain = rendered.substr(start, at - start) + rendered.substr(at + mark.size());
    const std::string* special = text_at(texts, plain);
    // A template may have changed the text; then there is nothing to keep apart.
    const std::size_t length = special != nullptr ? special->size() : at - start;
    append(std::string_view(plain).substr(0, length), false);
    done = at + mark.size() + length - (at - start);
  }
  append(std::string_view(rendered).substr(done), true);
  return ids;
}

}  // namespace talpa::chat
