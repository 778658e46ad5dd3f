#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "talpa/model/weights.h"

namespace talpa {

using GgufMetadata = std::vector<std::pair<std::string, Json>>;

/// What describes a model in a GGUF: metadata, and the shapes of tensors.
struct GgufDescription {
  std::string source;                                            ///< for messages
  std::function<const Json*(const std::string&)> metadata;       ///< null if absent
  std::function<const Shape*(const std::string&)> tensor_shape;  ///< row-major; null if absent
};

/// Throws kUnsupported for an architecture or option that talpa does not know, kFormat for
/// metadata that is missing or malformed.
DecoderConfig from_gguf(const GgufDescription& description);
/// Metadata of a description, without tokenizer: of the family's architecture in llama.cpp, or of
/// talpa's own (gguf_own.h). Throws kUnsupported if llama.cpp's cannot express the description.
GgufMetadata to_gguf_metadata(const DecoderConfig& config);

/// Stored name of a tensor under talpa's name in files of this family.
std::string gguf_name(Family family, const std::string& weight_name);
/// Stored row that holds our row of a query or key matrix or bias, whose rows llama.cpp's
/// converter arranges in rotary pairs: our (head, half, pair) is its (head, pair, half).
std::int64_t gguf_rotary_row(std::int64_t row, int head_dim);
/// True if the tensor's rows are so arranged in files of this description's family.
bool gguf_pairs_rows(const DecoderConfig& config, const std::string& weight_name);

}  // namespace talpa
