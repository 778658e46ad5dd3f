#include <future>

#include "talpa/base/error.h"
#include "talpa/engine/model.h"
#include "talpa/format/gguf.h"

namespace talpa {

namespace {

std::shared_ptr<const Tokenizer> tokenizer_of(const ModelFiles& files) {
  if (const auto* gguf = dynamic_cast<const GgufFile*>(files.store.get())) {
    const Json* model = gguf->find_metadata("tokenizer.ggml.model");
    const bool none = model == nullptr || *model == "none" || *model == "no_vocab";
    return none ? nullptr : Tokenizer::from_gguf(*gguf);
  }
  const auto path = files.path / "tokenizer.json";
  return std::filesystem::exists(path) ? Tokenizer::from_file(path) : nullptr;
}

}  // namespace

LoadedModel load_model(const std::filesystem::path& path, const EngineOptions& options) {
  LoadedModel loaded;
  loaded.files = open_model(path);
  // A small model is packed in about the time that a large vocabulary takes.
  auto tokenizer = std::async(std::launch::async, [&] { return tokenizer_of(loaded.files); });
  loaded.model = Model::load(loaded.files, options);
  loaded.tokenizer = tokenizer.get();
  if (loaded.tokenizer && loaded.tokenizer->vocab_size() > loaded.files.config.vocab_size)
    fail(ErrorCode::kFormat, "{}: the tokenizer has {} tokens, the model only {}", path.string(),
         loaded.tokenizer->vocab_size(), loaded.files.config.vocab_size);
  return loaded;
}

}  // namespace talpa
