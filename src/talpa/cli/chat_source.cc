#include "talpa/cli/chat_source.h"

#include "talpa/base/error.h"
#include "talpa/base/file.h"
#include "talpa/format/gguf.h"

namespace talpa::cli {

namespace {

namespace fs = std::filesystem;

/// "bos_token": "<s>" or {"content": "<s>", ...}.
std::optional<std::string> token_text(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && found->at("content").is_string())
    return found->at("content").get<std::string>();
  return std::nullopt;
}

/// A template, or the one named "default" of several.
std::string template_text(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return {};
  for (const Json& item : *found)
    if (item.is_object() && item.value("name", "") == "default") return item.value("template", "");
  return {};
}

ChatSource of_directory(const fs::path& path) {
  ChatSource source;
  if (const fs::path file = path / "tokenizer_config.json"; fs::exists(file)) {
    const Json config = read_json(file);
    source.chat_template = template_text(config);
    source.options.bos_token = token_text(config, "bos_token");
    source.options.eos_token = token_text(config, "eos_token");
  }
  if (const fs::path file = path / "chat_template.jinja"; fs::exists(file))
    source.chat_template = read_text(file);
  return source;
}

std::optional<std::string> gguf_token(const GgufFile& file, const Tokenizer* tokenizer,
                                      const char* key) {
  const Json* id = file.find_metadata(key);
  if (id == nullptr || tokenizer == nullptr || !id->is_number_integer()) return std::nullopt;
  const auto value = id->get<std::int64_t>();
  if (value < 0 || value >= tokenizer->vocab_size()) return std::nullopt;
  return tokenizer->token(static_cast<TokenId>(value));
}

ChatSource of_gguf(const GgufFile& file, const Tokenizer* tokenizer) {
  ChatSource source;
  const Json* text = file.find_metadata("tokenizer.chat_template");
  if (text != nullptr && text->is_string()) source.chat_template = text->get<std::string>();
  source.options.bos_token = gguf_token(file, tokenizer, "tokenizer.ggml.bos_token_id");
  source.options.eos_token = gguf_token(file, tokenizer, "tokenizer.ggml.eos_token_id");
  return source;
}

ChatSource own_source(const LoadedModel& loaded) {
  const auto* gguf = dynamic_cast<const GgufFile*>(loaded.files.store.get());
  return gguf != nullptr ? of_gguf(*gguf, loaded.tokenizer.get()) : of_directory(loaded.files.path);
}

/// A model without a template may have no names for these either.
void complete_tokens(ChatSource& source, const LoadedModel& loaded) {
  const DecoderConfig& config = loaded.files.config;
  if (loaded.tokenizer == nullptr) return;
  if (!source.options.bos_token && config.bos_token >= 0)
    source.options.bos_token = loaded.tokenizer->token(config.bos_token);
  if (!source.options.eos_token && !config.eos_tokens.empty())
    source.options.eos_token = loaded.tokenizer->token(config.eos_tokens.front());
}

}  // namespace

ChatSource chat_source_of(const LoadedModel& loaded, const std::string& file) {
  ChatSource source = own_source(loaded);
  if (!file.empty()) {
    source.chat_template = read_text(file, std::uint64_t{1} << 24);
    if (source.chat_template.empty()) fail(ErrorCode::kFormat, "{} is empty", file);
    complete_tokens(source, loaded);
  }
  if (source.chat_template.empty())
    fail(ErrorCode::kNotFound, "{} has no chat template", loaded.files.path.string());
  return source;
}

}  // namespace talpa::cli
