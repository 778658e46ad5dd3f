#include "talpa/text/decoder.h"

#include <charconv>

#include "talpa/text/byte_level.h"
#include "talpa/text/component.h"
#include "talpa/text/metaspace.h"
#include "talpa/text/replace.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

using Tokens = std::vector<std::string>;

class ByteLevelDecoder : public Decoder {
 public:
  void apply(Tokens& tokens) const override {
    for (std::string& token : tokens)
      if (auto bytes = characters_to_bytes(token)) token = std::move(*bytes);
  }
};

class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}

  void apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) {
        if (tokens[i].starts_with(prefix_)) {
          tokens[i].erase(0, prefix_.size());
        } else {
          tokens[i].insert(0, 1, ' ');
        }
      }
      if (cleanup_) clean_up(tokens[i]);
    }
  }

 private:
  /// English spacing undone, in the order of Hugging Face's tokenizers.
  static void clean_up(std::string& text) {
    static constexpr std::pair<const char*, const char*> kSteps[] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    for (const auto& [from, to] : kSteps) replace_all(text, from, to);
  }

  std::string prefix_;
  bool cleanup_;
};

class MetaspaceDecoder : public Decoder {
 public:
  explicit MetaspaceDecoder(const Metaspace& metaspace)
      : mark_(to_utf8(metaspace.replacement)),
        drop_first_(metaspace.prepend != PrependScheme::kNever) {}

  void apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], mark_, i == 0 && drop_first_ ? "" : " ");
  }

 private:
  std::string mark_;
  bool drop_first_;
};

class SuffixDecoder : public Decoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(Tokens& tokens) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
  }

 private:
  std::string suffix_;
};

class ReplaceDecoder : public Decoder {
 public:
  explicit ReplaceDecoder(Replace replace) : replace_(std::move(replace)) {}
  void apply(Tokens& tokens) const override {
    for (std::string& token : tokens) token = replace_.apply(token);
  }

 private:
  Replace replace_;
};

/// Tokens like "<0xE2>" become bytes. A run of them that is no UTF-8 becomes one U+FFFD a byte,
/// unless the text may go on behind it.
class ByteFallbackDecoder : public Decoder {
 public:
  void apply(Tokens& tokens) const override {
    Tokens out;
    std::string run;
    for (std::string& token : tokens) {
      if (const auto byte = byte_of(token)) {
        run.push_back(static_cast<char>(*byte));
        continue;
      }
      flush(run, false, out);
      out.push_back(std::move(token));
    }
    flush(run, true, out);
    tokens = std::move(out);
  }

 private:
  static std::optional<unsigned char> byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
    unsigned value = 0;
    const char* end = token.data() + 5;
    const auto [parsed, error] = std::from_chars(token.data() + 3, end, value, 16);
    if (error != std::errc{} || parsed != end) return std::nullopt;
    return static_cast<unsigned char>(value);
  }

  static bool may_go_on(std::string_view bytes) {
    while (!bytes.empty()) {
      const Utf8Step step = utf8_step(bytes);
      if (step.size == 0) return step.truncated;
      bytes.remove_prefix(static_cast<std::size_t>(step.size));
    }
    return true;
  }

  static void flush(std::string& run, bool at_end, Tokens& out) {
    if (run.empty()) return;
    if (is_valid_utf8(run) || (at_end && may_go_on(run))) {
      out.push_back(run);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) out.emplace_back("\xef\xbf\xbd");
    }
    run.clear();
  }
};

class FuseDecoder : public Decoder {
 public:
  void apply(Tokens& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

class StripDecoder : public Decoder {
 public:
  StripDecoder(char32_t content, int start, int stop)
      : content_(to_utf8(content)), start_(start), stop_(stop) {}

  void apply(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      for (int i = 0; i < start_ && token.starts_with(content_); ++i)
        token.erase(0, content_.size());
      for (int i = 0; i < stop_ && token.ends_with(content_); ++i)
        token.resize(token.size() - content_.size());
    }
  }

 private:
  std::string content_;
  int start_;
  int stop_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<const Decoder>> parts)
      : parts_(std::move(parts)) {}
  void apply(Tokens& tokens) const override {
    for (const auto& part : parts_) part->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<const Decoder>> parts_;
};

using Made = std::unique_ptr<const Decoder>;

Made make_byte_level(Component& c) {
  for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) c.ignore(key);
  return std::make_unique<ByteLevelDecoder>();
}

Made make_strip(Component& c) {
  const char32_t content = c.character("content");
  const int start = c.integer("start");
  return std::make_unique<StripDecoder>(content, start, c.integer("stop"));
}

Made make_sequence(Component& c) {
  std::vector<Made> parts;
  for (const Json& part : c.array("decoders"))
    parts.push_back(make_decoder(part, fmt::format("{}.decoders[{}]", c.where(), parts.size())));
  return std::make_unique<DecoderSequence>(std::move(parts));
}

Made make(Component& c) {
  const std::string type = c.type();
  if (type == "ByteLevel") return make_byte_level(c);
  if (type == "WordPiece") {
    const std::string prefix = c.string("prefix");
    return std::make_unique<WordPieceDecoder>(prefix, c.boolean("cleanup"));
  }
  if (type == "Metaspace") return std::make_unique<MetaspaceDecoder>(read_metaspace(c));
  if (type == "BPEDecoder") return std::make_unique<SuffixDecoder>(c.string("suffix"));
  if (type == "Replace") return std::make_unique<ReplaceDecoder>(read_replace(c));
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Strip") return make_strip(c);
  if (type == "Sequence") return make_sequence(c);
  c.fail_unknown("decoder", type);
}

}  // namespace

std::unique_ptr<const Decoder> make_decoder(const Json& json, const std::string& where) {
  Component component(json, where);
  auto made = make(component);
  component.done();
  return made;
}

}  // namespace talpa::text
