#pragma once

#include <string>
#include <vector>

#include "talpa/convert/layer_stream.h"
#include "talpa/model/decoder_config.h"

namespace talpa::cli {

/// A text cut into windows of `context` tokens; all of it, so that a choice of them is one of the
/// whole. `ids`: it holds raw ids, and the model needs no tokenizer.
std::vector<convert::TokenSequence> sequences_of(const std::string& text, bool ids, int context,
                                                 const std::string& model,
                                                 const DecoderConfig& config);

}  // namespace talpa::cli
