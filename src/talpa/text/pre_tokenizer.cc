#include "talpa/text/pre_tokenizer.h"

#include "talpa/text/byte_level.h"
#include "talpa/text/component.h"
#include "talpa/text/metaspace.h"
#include "talpa/text/split.h"
#include "talpa/text/unicode.h"

namespace talpa::text {

namespace {

void append_spans(const Piece& piece, const std::vector<Span>& spans, std::vector<Piece>& out) {
  for (const Span& span : spans)
    out.push_back(
        {piece.text.substr(span.begin, span.end - span.begin), piece.at_start && span.begin == 0});
}

/// Cuts at the characters of a class.
class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(bool (*matches)(char32_t), SplitBehavior behavior)
      : matches_(matches), behavior_(behavior) {}
  void split(Piece piece, std::vector<Piece>& out) const override {
    append_spans(piece, text::split(match_spans(matches_, piece.text), behavior_), out);
  }

 private:
  bool (*matches_)(char32_t);
  SplitBehavior behavior_;
};

class PatternSplit : public PreTokenizer {
 public:
  PatternSplit(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}
  void split(Piece piece, std::vector<Piece>& out) const override {
    append_spans(piece, text::split(match_spans(regex_, piece.text), behavior_, invert_), out);
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

/// Cuts by GPT-2's pattern and writes bytes as printable characters.
class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex), regex_(kGpt2Pattern) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    if (add_prefix_space_ && !piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    if (!use_regex_) {
      out.push_back({bytes_to_characters(piece.text), piece.at_start});
      return;
    }
    const std::string_view text = piece.text;
    const auto emit = [&](std::size_t begin, std::size_t end) {
      if (begin < end)
        out.push_back(
            {bytes_to_characters(text.substr(begin, end - begin)), piece.at_start && begin == 0});
    };
    std::size_t done = 0;
    regex_.find_all(text, [&](std::size_t begin, std::size_t end) {
      emit(done, begin);
      emit(begin, end);
      done = end;
    });
    emit(done, text.size());
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
  Regex regex_;
};

/// Words, and runs of what is neither word nor white space.
class Whitespace : public PreTokenizer {
 public:
  void split(Piece piece, std::vector<Piece>& out) const override {
    const std::string_view text = piece.text;
    const auto kind = [](char32_t c) { return is_word(c) ? 1 : is_white_space(c) ? 0 : 2; };
    std::size_t begin = 0;
    int current = 0;
    for (std::size_t i = 0; i < text.size();) {
      const Character c = character_at(text, i);
      const int next = kind(c.code);
      if (next != current) {
        if (current) append_spans(piece, {{begin, i, true}}, out);
        begin = i;
        current = next;
      }
      i += static_cast<std::size_t>(c.size);
    }
    if (current) append_spans(piece, {{begin, text.size(), true}}, out);
  }
};

class MetaspaceSplit : public PreTokenizer {
 public:
  explicit MetaspaceSplit(Metaspace metaspace) : metaspace_(std::move(metaspace)) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    const std::string mark = to_utf8(metaspace_.replacement);
    std::string text;
    for (const char c : piece.text) {
      if (c == ' ') {
        text += mark;
      } else {
        text += c;
      }
    }
    const bool prepend = metaspace_.prepend == PrependScheme::kAlways ||
                         (metaspace_.prepend == PrependScheme::kFirst && piece.at_start);
    if (prepend && !text.starts_with(mark)) text.insert(0, mark);
    piece.text = std::move(text);
    if (!metaspace_.split) {
      out.push_back(std::move(piece));
      return;
    }
    append_spans(piece,
                 text::split(match_spans(metaspace_.replacement, piece.text),
                             SplitBehavior::kMergedWithNext),
                 out);
  }

 private:
  Metaspace metaspace_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<const PreTokenizer>> parts)
      : parts_(std::move(parts)) {}

  void split(Piece piece, std::vector<Piece>& out) const override {
    std::vector<Piece> pieces;
    pieces.push_back(std::move(piece));
    for (const auto& part : parts_) {
      std::vector<Piece> next;
      next.reserve(pieces.size());
      for (Piece& p : pieces) part->split(std::move(p), next);
      pieces = std::move(next);
    }
    for (Piece& p : pieces) out.push_back(std::move(p));
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

using Made = std::unique_ptr<const PreTokenizer>;

Made make_byte_level(Component& c) {
  const bool add_prefix_space = c.boolean("add_prefix_space");
  c.ignore("trim_offsets");
  return std::make_unique<ByteLevel>(add_prefix_space, c.boolean("use_regex", true));
}

Made make_split(Component& c) {
  Regex pattern = c.pattern("pattern");
  const auto behavior = split_behavior(c.string("behavior"), c.where());
  return std::make_unique<PatternSplit>(std::move(pattern), behavior, c.boolean("invert"));
}

Made make_sequence(Component& c) {
  std::vector<Made> parts;
  for (const Json& part : c.array("pretokenizers"))
    parts.push_back(
        make_pre_tokenizer(part, fmt::format("{}.pretokenizers[{}]", c.where(), parts.size())));
  return std::make_unique<PreTokenizerSequence>(std::move(parts));
}

Made make_bert() {
  std::vector<Made> parts;
  parts.push_back(std::make_unique<CharacterSplit>(is_white_space, SplitBehavior::kRemoved));
  parts.push_back(std::make_unique<CharacterSplit>(is_punctuation, SplitBehavior::kIsolated));
  return std::make_unique<PreTokenizerSequence>(std::move(parts));
}

Made make(Component& c) {
  const std::string type = c.type();
  if (type == "ByteLevel") return make_byte_level(c);
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit")
    return std::make_unique<CharacterSplit>(is_white_space, SplitBehavior::kRemoved);
  if (type == "BertPreTokenizer") return make_bert();
  if (type == "Metaspace") return std::make_unique<MetaspaceSplit>(read_metaspace(c));
  if (type == "Split") return make_split(c);
  if (type == "Digits") {
    const bool individual = c.boolean("individual_digits", false);
    return std::make_unique<CharacterSplit>(
        is_numeric, individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation")
    return std::make_unique<CharacterSplit>(
        is_punctuation, split_behavior(c.string("behavior", "Isolated"), c.where()));
  if (type == "Sequence") return make_sequence(c);
  c.fail_unknown("pre-tokenizer", type);
}

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const Json& json, const std::string& where) {
  Component component(json, where);
  auto made = make(component);
  component.done();
  return made;
}

}  // namespace talpa::text
