#pragma once

#include <string>

#include "talpa/chat/chat_template.h"
#include "talpa/engine/model.h"

namespace talpa::cli {

/// A model's chat template and the tokens it writes: of chat_template.jinja or
/// tokenizer_config.json beside its tokenizer, or of a GGUF's metadata. Throws kNotFound naming the
/// model if it has none. A template in `file` replaces its own.
struct ChatSource {
  std::string chat_template;
  chat::ChatOptions options;  ///< bos_token, eos_token
};
ChatSource chat_source_of(const LoadedModel& loaded, const std::string& file = {});

}  // namespace talpa::cli
