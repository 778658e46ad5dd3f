#include "talpa/chat/chat_prompt.h"

#include <algorithm>
#include <cstdint>

#include "talpa/base/error.h"

namespace talpa::chat {

namespace {

/// A character of the private use area in UTF-8.
std::string private_character(std::uint32_t code) {
  return {static_cast<char>(0xe0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3f)),
          static_cast<char>(0x80 | (code & 0x3f))};
}

template <class Visit>
void visit_strings(OrderedJson& json, const Visit& visit) {
  if (json.is_string()) return visit(json.get_ref<std::string&>());
  if (!json.is_structured()) return;
  for (auto& item : json) visit_strings(item, visit);
}

/// A mark that no message contains.
std::string unused_mark(OrderedJson& messages) {
  for (std::uint32_t code = 0xe000; code < 0xf900; ++code) {
    const std::string mark = private_character(code);
    bool used = false;
    visit_strings(messages, [&](const std::string& text) {
      used = used || text.find(mark) != std::string::npos;
    });
    if (!used) return mark;
  }
  fail(ErrorCode::kUnsupported, "the messages contain every private character");
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
void mark_specials(const std::vector<std::string>& texts, const std::string& mark,
                   std::string& text) {
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
  text = std::move(marked);
}

}  // namespace

std::vector<TokenId> chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                 const OrderedJson& messages, const ChatOptions& options) {
  OrderedJson marked = messages;
  const std::string mark = unused_mark(marked);
  const std::vector<std::string> texts = special_texts(tokenizer);
  visit_strings(marked, [&](std::string& text) { mark_specials(texts, mark, text); });
  const std::string rendered = chat_template.render(marked, options);

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
