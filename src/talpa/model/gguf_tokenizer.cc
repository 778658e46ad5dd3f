#include "talpa/model/gguf_tokenizer.h"

#include <array>
#include <string_view>

#include "talpa/base/file.h"

namespace talpa {
namespace {

/// Values of `tokenizer.ggml.token_type`.
enum TokenType : int { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

class TokenizerExport {
 public:
  TokenizerExport(const Json& json, std::string source, int vocab_size)
      : json_(json), source_(std::move(source)), vocab_size_(vocab_size) {}

  GgufMetadata metadata() {
    const Json& model = object(json_, "model");
    if (model.value("type", "") != "BPE" || model.value("byte_fallback", false))
      unsupported("only byte-level BPE goes into a GGUF");
    read_vocabulary(object(model, "vocab"));
    read_added_tokens();
    GgufMetadata metadata = {{"tokenizer.ggml.model", "gpt2"},
                             {"tokenizer.ggml.pre", pre_tokenizer_name()},
                             {"tokenizer.ggml.tokens", tokens_},
                             {"tokenizer.ggml.token_type", types_},
                             {"tokenizer.ggml.merges", merges(model)}};
    add_frame(metadata);
    return metadata;
  }

 private:
  [[noreturn]] void unsupported(const std::string& what) const {
    fail(ErrorCode::kUnsupported, "{}: {}", source_, what);
  }
  [[noreturn]] void malformed(const std::string& what) const {
    fail(ErrorCode::kFormat, "{}: {}", source_, what);
  }

  const Json& object(const Json& parent, const char* key) const {
    const auto it = parent.find(key);
    if (it == parent.end() || !it->is_object()) malformed(fmt::format("{} is no object", key));
    return *it;
  }

  void place(const std::string& token, const Json& id, TokenType type) {
    if (!id.is_number_integer() || id < 0 || id >= vocab_size_)
      malformed(fmt::format("id {} of token {} is not below the model's vocab_size = {}", id.dump(),
                            token, vocab_size_));
    tokens_[id.get<std::size_t>()] = token;
    types_[id.get<std::size_t>()] = type;
  }

  void read_vocabulary(const Json& vocabulary) {
    for (int id = 0; id < vocab_size_; ++id) {
      tokens_.push_back(fmt::format("[PAD{}]", id));
      types_.push_back(kUnused);
    }
    for (const auto& [token, id] : vocabulary.items()) place(token, id, kNormal);
  }

  void read_added_tokens() {
    const auto it = json_.find("added_tokens");
    if (it == json_.end() || !it->is_array()) return;
    for (const Json& token : *it) {
      if (!token.is_object() || !token.contains("content") || !token["content"].is_string())
        malformed("an added token has no content");
      place(token["content"], token.value("id", Json()),
            token.value("special", false) ? kControl : kUserDefined);
    }
  }

  Json merges(const Json& model) const {
    Json list = Json::array();
    const auto it = model.find("merges");
    if (it == model.end() || !it->is_array()) malformed("model.merges is no list");
    for (const Json& merge : *it) {
      if (merge.is_string()) {
        list.push_back(merge);
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        list.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      } else {
        malformed("a merge is not two symbols");
      }
    }
    return list;
  }

  std::vector<Json> steps() const {
    const Json& root = object(json_, "pre_tokenizer");
    if (root.value("type", "") != "Sequence") return {root};
    const auto it = root.find("pretokenizers");
    if (it == root.end() || !it->is_array()) malformed("pre_tokenizer has no pretokenizers");
    return *it;
  }

  static bool is_byte_level(const Json& step, bool use_regex) {
    return step.is_object() && step.value("type", "") == "ByteLevel" &&
           !step.value("add_prefix_space", true) && step.value("use_regex", true) == use_regex;
  }

  /// The pattern of a step that isolates matches, or "".
  static std::string isolated_pattern(const Json& step) {
    const auto pattern = step.find("pattern");
    if (step.value("type", "") != "Split" || step.value("behavior", "") != "Isolated" ||
        step.value("invert", false) || pattern == step.end() || !pattern->is_object())
      return {};
    return pattern->value("Regex", "");
  }

  std::string pre_tokenizer_name() const {
    const auto it = json_.find("normalizer");
    const bool plain = it == json_.end() || it->is_null();
    const bool nfc = !plain && it->is_object() && it->value("type", "") == "NFC";
    const std::vector<Json> list = steps();
    if (list.size() == 1 && is_byte_level(list[0], true)) {
      if (plain) return "gpt-2";
      if (nfc) return "olmo";
    }
    if (list.size() == 2 && list[0].is_object()) {
      const bool digits =
          list[0].value("type", "") == "Digits" && list[0].value("individual_digits", false);
      if (plain && digits && is_byte_level(list[1], true)) return "smollm";
      const std::string pattern = isolated_pattern(list[0]);
      const bool bytes = is_byte_level(list[1], false);
      if (plain && bytes && pattern == kLlama3Pattern) return "llama-bpe";
      if (nfc && bytes && pattern == kQwen2Pattern) return "qwen2";
    }
    unsupported("llama.cpp has no name for this pre-tokenizer and normalizer");
  }

  /// Whether the template puts one token before the text, one behind it.
  void add_frame(GgufMetadata& metadata) const {
    bool before = false, behind = false, text = false;
    for (const Json& piece : template_pieces()) {
      const bool special = piece.is_object() && piece.contains("SpecialToken");
      if (!special) text = true;
      bool& flag = text ? behind : before;
      if (special && flag) unsupported("a template with several special tokens on one side");
      if (special) flag = true;
    }
    metadata.emplace_back("tokenizer.ggml.add_bos_token", before);
    metadata.emplace_back("tokenizer.ggml.add_eos_token", behind);
  }

  Json template_pieces() const {
    const auto it = json_.find("post_processor");
    if (it == json_.end() || it->is_null()) return Json::array();
    Json processors = Json::array({*it});
    if (it->value("type", "") == "Sequence") processors = it->value("processors", Json::array());
    for (const Json& processor : processors) {
      const std::string type = processor.value("type", "");
      if (type == "TemplateProcessing") return processor.value("single", Json::array());
      if (type != "ByteLevel") unsupported(fmt::format("post-processor {} has no place", type));
    }
    return Json::array();
  }

  const Json& json_;
  std::string source_;
  int vocab_size_;
  std::vector<std::string> tokens_;
  std::vector<int> types_;
};

void add_chat_template(const std::filesystem::path& directory, GgufMetadata& metadata) {
  std::error_code ignored;
  if (std::filesystem::exists(directory / "chat_template.jinja", ignored)) {
    metadata.emplace_back("tokenizer.chat_template",
                          read_text(directory / "chat_template.jinja", 1u << 20));
    return;
  }
  if (!std::filesystem::exists(directory / "tokenizer_config.json", ignored)) return;
  const Json config = read_json(directory / "tokenizer_config.json");
  if (config.is_object() && config.contains("chat_template") && config["chat_template"].is_string())
    metadata.emplace_back("tokenizer.chat_template", config["chat_template"]);
}

}  // namespace

GgufMetadata gguf_tokenizer(const std::filesystem::path& path, int vocab_size) {
  const bool directory = std::filesystem::is_directory(path);
  const std::filesystem::path file = directory ? path / "tokenizer.json" : path;
  const Json json = read_json(file);
  try {
    GgufMetadata metadata = TokenizerExport(json, file.string(), vocab_size).metadata();
    add_chat_template(file.parent_path(), metadata);
    return metadata;
  } catch (const Json::exception& error) {
    fail(ErrorCode::kFormat, "{}: {}", file.string(), error.what());
  }
}

GgufMetadata gguf_no_tokenizer() { return {{"tokenizer.ggml.model", "none"}}; }

}  // namespace talpa
