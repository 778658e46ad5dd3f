#include "talpa/text/normalizer.h"

#include <utf8proc.h>

#include <functional>

#include "talpa/text/component.h"
#include "talpa/text/replace.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

/// A normaliser that is one function.
class Rewrite : public Normalizer {
 public:
  explicit Rewrite(std::function<void(std::string&)> rewrite) : rewrite_(std::move(rewrite)) {}
  void apply(std::string& text) const override { rewrite_(text); }

 private:
  std::function<void(std::string&)> rewrite_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<const Normalizer>> parts)
      : parts_(std::move(parts)) {}
  void apply(std::string& text) const override {
    for (const auto& part : parts_) part->apply(text);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

/// Calls step(code, out) for every character; what it appends is the new text.
template <class Step>
void map_characters(std::string& text, const Step& step) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    step(c.code, out);
    i += static_cast<std::size_t>(c.size);
  }
  text = std::move(out);
}

template <class Drop>
void drop_characters(std::string& text, const Drop& drop) {
  map_characters(text, [&](char32_t c, std::string& out) {
    if (!drop(c)) append_character(out, c);
  });
}

bool is_ascii(const std::string& text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  return true;
}

/// Unicode Standard Annex 15; `options` of utf8proc say which form.
void normalize_form(std::string& text, int options) {
  if (is_ascii(text)) return;
  const auto flags = static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE);
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result, flags);
  if (size < 0) fail(ErrorCode::kInternal, "Unicode normalisation: {}", utf8proc_errmsg(size));
  text.assign(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  std::free(result);
}

void lowercase(std::string& text) {
  map_characters(text, [](char32_t c, std::string& out) {
    if (c < 0x80) {
      out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
    } else if (c == 0x130) {
      out += "i\xcc\x87";  // the only character whose lower case is two
    } else {
      append_character(out,
                       static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  });
}

void strip(std::string& text, bool left, bool right) {
  std::size_t begin = 0, end = 0;
  bool seen = false;
  for (std::size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (!is_white_space(c.code)) {
      if (!seen) begin = i;
      seen = true;
      end = i + static_cast<std::size_t>(c.size);
    }
    i += static_cast<std::size_t>(c.size);
  }
  if (!seen) begin = text.size();
  if (!right) end = text.size();
  if (!left) begin = 0;
  text = begin < end ? text.substr(begin, end - begin) : "";
}

bool is_chinese(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

struct BertOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;
};

void bert_clean(std::string& text) {
  map_characters(text, [](char32_t c, std::string& out) {
    if (is_white_space(c)) {
      const bool control = c == 0xb || c == 0xc || c == 0x85;
      if (!control) out.push_back(' ');
    } else if (c != 0 && c != 0xfffd && !is_other(c)) {
      append_character(out, c);
    }
  });
}

void bert_normalize(std::string& text, const BertOptions& options) {
  if (options.clean_text) bert_clean(text);
  if (options.handle_chinese_chars)
    map_characters(text, [](char32_t c, std::string& out) {
      const bool chinese = is_chinese(c);
      if (chinese) out.push_back(' ');
      append_character(out, c);
      if (chinese) out.push_back(' ');
    });
  if (options.strip_accents) {
    normalize_form(text, UTF8PROC_DECOMPOSE);
    drop_characters(text, is_nonspacing_mark);
  }
  if (options.lowercase) lowercase(text);
}

/// The rules of neural machine translation models: control characters go, odd spaces are spaces.
void nmt(std::string& text) {
  map_characters(text, [](char32_t c, std::string& out) {
    const bool gone = (c >= 0x1 && c <= 0x8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
                      c == 0x8f || c == 0x9f;
    const bool space = c == 0x9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 ||
                       (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xfeff || c == 0xfffd;
    if (space) {
      out.push_back(' ');
    } else if (!gone) {
      append_character(out, c);
    }
  });
}

using Made = std::unique_ptr<const Normalizer>;

Made rewrite(std::function<void(std::string&)> function) {
  return std::make_unique<Rewrite>(std::move(function));
}

Made make_bert(Component& c) {
  BertOptions options;
  options.clean_text = c.boolean("clean_text");
  options.handle_chinese_chars = c.boolean("handle_chinese_chars");
  options.lowercase = c.boolean("lowercase");
  options.strip_accents = c.boolean("strip_accents", options.lowercase);
  return rewrite([options](std::string& text) { bert_normalize(text, options); });
}

Made make_strip(Component& c) {
  const bool left = c.boolean("strip_left");
  const bool right = c.boolean("strip_right");
  return rewrite([left, right](std::string& text) { strip(text, left, right); });
}

Made make_sequence(Component& c) {
  std::vector<Made> parts;
  for (const Json& part : c.array("normalizers"))
    parts.push_back(
        make_normalizer(part, fmt::format("{}.normalizers[{}]", c.where(), parts.size())));
  return std::make_unique<NormalizerSequence>(std::move(parts));
}

Made make_form(int options) {
  return rewrite([options](std::string& text) { normalize_form(text, options); });
}

Made make(Component& c) {
  const std::string type = c.type();
  if (type == "NFC") return make_form(UTF8PROC_COMPOSE);
  if (type == "NFD") return make_form(UTF8PROC_DECOMPOSE);
  if (type == "NFKC") return make_form(UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  if (type == "NFKD") return make_form(UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  if (type == "Lowercase") return rewrite(lowercase);
  if (type == "Strip") return make_strip(c);
  if (type == "StripAccents")
    return rewrite([](std::string& text) { drop_characters(text, is_mark); });
  if (type == "Replace")
    return rewrite([replace = read_replace(c)](std::string& text) { text = replace.apply(text); });
  if (type == "Prepend")
    return rewrite([prepend = c.string("prepend")](std::string& text) {
      if (!text.empty()) text.insert(0, prepend);
    });
  if (type == "BertNormalizer") return make_bert(c);
  if (type == "Nmt") return rewrite(nmt);
  if (type == "Precompiled") return make_precompiled(c.string("precompiled_charsmap"), c.where());
  if (type == "Sequence") return make_sequence(c);
  c.fail_unknown("normalizer", type);
}

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const Json& json, const std::string& where) {
  Component component(json, where);
  auto made = make(component);
  component.done();
  return made;
}

}  // namespace talpa::text
