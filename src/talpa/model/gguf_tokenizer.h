#pragma once

#include <filesystem>

#include "talpa/model/gguf_config.h"

namespace talpa {

/// `tokenizer.ggml.*` of a tokenizer.json (the file or its directory), without the beginning and
/// end tokens that the model's description names; the chat template beside it, if any. Only
/// byte-level BPE whose pre-tokenizer llama.cpp knows by name (gpt-2, smollm, llama-bpe, qwen2,
/// olmo); anything else throws kUnsupported. Ids past the tokenizer's, up to `vocab_size`, are
/// filled with unused tokens.
GgufMetadata gguf_tokenizer(const std::filesystem::path& path, int vocab_size);

/// What says that a file has no tokenizer, as llama.cpp wants it.
GgufMetadata gguf_no_tokenizer();

}  // namespace talpa
