#include "talpa/text/bpe_model.h"
#include "talpa/text/byte_level.h"
#include "talpa/text/pipeline.h"
#include "talpa/text/sentencepiece_model.h"
#include "talpa/text/unicode.h"

namespace talpa {

using text::AddedToken;
using text::PipelineParts;
using text::TokenType;
using text::Vocabulary;

namespace {

constexpr std::string_view kLlama3Start =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
constexpr std::string_view kLlama3End = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json isolate(const std::string& pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

/// How a named kind of GGUF byte-level vocabulary cuts text.
struct PreTokenization {
  std::vector<Json> steps;
  bool nfc = false;  ///< the original tokenizer composes characters first
  bool ignore_merges = false;
  bool add_bos = false;
};

PreTokenization gpt2_with_digits() {
  return {{{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}};
}

PreTokenization llama3_like(const std::string& numbers) {
  return {
      {isolate(std::string(kLlama3Start) + numbers + std::string(kLlama3End)), byte_level(false)}};
}

/// llama.cpp's rules for files that name none.
PreTokenization default_rules() {
  return {{isolate(R"([\p{P}\$\+<=>\^~\|]+)"), isolate(std::string(text::kGpt2Pattern)),
           isolate(R"(\p{N}+)"), isolate("[0-9][0-9][0-9]"), byte_level(false)}};
}

PreTokenization pre_tokenization(const std::string& name, const std::string& source) {
  PreTokenization rules;
  if (name == "smollm") {
    rules = gpt2_with_digits();
  } else if (name == "gpt-2" || name == "olmo") {
    rules = {{byte_level(true)}};
    rules.nfc = name == "olmo";
  } else if (name == "llama-bpe" || name == "llama3") {
    rules = llama3_like(R"(\p{N}{1,3})");
    rules.ignore_merges = rules.add_bos = true;
  } else if (name == "qwen2") {
    rules = llama3_like(R"(\p{N})");
    rules.nfc = true;
  } else if (name == "default") {
    rules = default_rules();
  } else {
    fail(ErrorCode::kUnsupported,
         "{}: tokenizer.ggml.pre: pre-tokenizer \"{}\" is not supported (known: default, gpt-2, "
         "llama-bpe, olmo, qwen2, smollm)",
         source, name);
  }
  return rules;
}

/// Reads `tokenizer.ggml.*` with checks.
class GgufTokenizerReader {
 public:
  explicit GgufTokenizerReader(const GgufFile& file) : file_(file), source_(file.path().string()) {
    read_tokens();
    read_types();
  }

  PipelineParts read() {
    const std::string model = string("model");
    if (model == "gpt2") return byte_level_bpe();
    if (model == "llama") return sentencepiece();
    fail(ErrorCode::kUnsupported,
         "{}: tokenizer.ggml.model \"{}\" is not supported (known: gpt2, llama)", source_, model);
  }

 private:
  [[noreturn]] void fail_key(const char* key, const std::string& what) const {
    fail(ErrorCode::kFormat, "{}: tokenizer.ggml.{}: {}", source_, key, what);
  }

  const Json* find(const char* key) const {
    return file_.find_metadata(std::string("tokenizer.ggml.") + key);
  }

  std::string string(const char* key, std::optional<std::string> absent = {}) const {
    const Json* value = find(key);
    if (!value && absent) return *absent;
    if (!value || !value->is_string()) fail_key(key, value ? "not a string" : "missing");
    return value->get<std::string>();
  }

  bool boolean(const char* key, bool absent) const {
    const Json* value = find(key);
    if (!value) return absent;
    if (!value->is_boolean()) fail_key(key, "not true or false");
    return value->get<bool>();
  }

  const Json& array(const char* key) const {
    const Json* value = find(key);
    if (!value || !value->is_array()) fail_key(key, value ? "not an array" : "missing");
    return *value;
  }

  TokenId id(const char* key, std::optional<TokenId> absent = {}) const {
    const Json* value = find(key);
    if (!value && absent && *absent < vocabulary_->size()) return *absent;
    if (!value) fail_key(key, "missing, but needed");
    if (!value->is_number_integer() || *value < 0 || *value >= vocabulary_->size())
      fail_key(key,
               fmt::format("{} is no id of the {} tokens", value->dump(), vocabulary_->size()));
    return value->get<TokenId>();
  }

  void read_tokens() {
    const Json& tokens = array("tokens");
    vocabulary_->reserve(tokens.size());
    for (const Json& token : tokens) {
      const std::string text = token.is_string() ? token.get<std::string>() : "";
      if (!token.is_string() || !text::is_valid_utf8(text))
        fail_key("tokens", fmt::format("token {} is not UTF-8 text", vocabulary_->size()));
      vocabulary_->append(text, source_);
    }
  }

  void read_types() {
    types_.assign(static_cast<std::size_t>(vocabulary_->size()), TokenType::kNormal);
    if (!find("token_type")) return;
    const Json& list = array("token_type");
    if (list.size() != types_.size())
      fail_key("token_type", fmt::format("{} types of {} tokens", list.size(), types_.size()));
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (!list[i].is_number_integer() || list[i] < 1 || list[i] > 6)
        fail_key("token_type", fmt::format("type {} of token {} is not 1 to 6", list[i].dump(), i));
      types_[i] = static_cast<TokenType>(list[i].get<int>());
    }
  }

  std::vector<AddedToken> added_tokens() const {
    std::vector<AddedToken> tokens;
    for (std::size_t i = 0; i < types_.size(); ++i) {
      const bool special = types_[i] == TokenType::kControl || types_[i] == TokenType::kUnknown;
      if (!special && types_[i] != TokenType::kUserDefined) continue;
      AddedToken token;
      token.id = static_cast<TokenId>(i);
      token.content = vocabulary_->token(token.id);
      token.special = special;
      tokens.push_back(std::move(token));
    }
    return tokens;
  }

  text::Frame frame(bool add_bos, std::optional<TokenId> bos, std::optional<TokenId> eos) const {
    text::Frame frame;
    if (boolean("add_bos_token", add_bos)) frame.before.push_back(id("bos_token_id", bos));
    if (boolean("add_eos_token", false)) frame.after.push_back(id("eos_token_id", eos));
    return frame;
  }

  text::BpeModel::Merges merges() const {
    text::BpeModel::Merges merges;
    const Json& list = array("merges");
    merges.reserve(list.size());
    for (const Json& merge : list) {
      const std::string text = merge.is_string() ? merge.get<std::string>() : "";
      // The first symbol may itself begin with a space, so the search starts behind it.
      const auto space = text.find(' ', 1);
      if (space == std::string::npos || !text::is_valid_utf8(text))
        fail_key("merges", fmt::format("entry {} is not two symbols", merges.size()));
      merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
    return merges;
  }

  PipelineParts byte_level_bpe() const {
    const PreTokenization rules = pre_tokenization(string("pre", "default"), source_);
    text::BpeOptions options;
    options.ignore_merges = rules.ignore_merges;
    PipelineParts parts;
    parts.model = {vocabulary_,
                   std::make_unique<text::BpeModel>(vocabulary_, merges(), options, source_)};
    parts.added_tokens = added_tokens();
    if (rules.nfc) parts.normalizer = text::make_normalizer({{"type", "NFC"}}, source_);
    parts.pre_tokenizer =
        text::make_pre_tokenizer({{"type", "Sequence"}, {"pretokenizers", rules.steps}}, source_);
    parts.decoder = text::make_decoder({{"type", "ByteLevel"}}, source_);
    parts.frame = frame(rules.add_bos, {}, {});
    return parts;
  }

  std::vector<float> scores() const {
    const Json& list = array("scores");
    if (list.size() != types_.size())
      fail_key("scores", fmt::format("{} scores of {} tokens", list.size(), types_.size()));
    std::vector<float> scores;
    for (const Json& score : list) {
      if (!score.is_number())
        fail_key("scores", fmt::format("entry {} is no number", scores.size()));
      scores.push_back(score.get<float>());
    }
    return scores;
  }

  PipelineParts sentencepiece() const {
    const bool prefix = boolean("add_space_prefix", true);
    const Json mark = {{"String", "\u2581"}}, space = {{"String", " "}};
    Json normalizers =
        Json::array({{{"type", "Replace"}, {"pattern", space}, {"content", "\u2581"}}});
    Json decoders = Json::array({{{"type", "Replace"}, {"pattern", mark}, {"content", " "}},
                                 {{"type", "ByteFallback"}},
                                 {{"type", "Fuse"}}});
    if (prefix) {
      normalizers.push_back({{"type", "Prepend"}, {"prepend", "\u2581"}});
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    }
    PipelineParts parts;
    parts.model = {vocabulary_, text::make_sentencepiece(vocabulary_, scores(), types_,
                                                         id("unknown_token_id", 0))};
    parts.added_tokens = added_tokens();
    parts.normalizer = text::make_normalizer(
        {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}}, source_);
    parts.decoder =
        text::make_decoder({{"type", "Sequence"}, {"decoders", std::move(decoders)}}, source_);
    parts.frame = frame(true, 1, 2);
    return parts;
  }

  const GgufFile& file_;
  std::string source_;
  std::shared_ptr<Vocabulary> vocabulary_ = std::make_shared<Vocabulary>();
  std::vector<TokenType> types_;
};

}  // namespace

std::shared_ptr<const Tokenizer> Tokenizer::from_gguf(const GgufFile& file) {
  return std::make_shared<text::Pipeline>(GgufTokenizerReader(file).read());
}

}  // namespace talpa
