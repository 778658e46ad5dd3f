#pragma once

#include <memory>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/text/vocabulary.h"

namespace talpa::text {

/// Special tokens around the ids of one text.
struct Frame {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
};

/// From the "post_processor" of a tokenizer.json: TemplateProcessing, BertProcessing,
/// RobertaProcessing, ByteLevel (which changes offsets only), Sequence. Others throw
/// kUnsupported. Templates of pairs of texts are not read.
Frame make_frame(const Json& json, const std::string& where);

}  // namespace talpa::text
