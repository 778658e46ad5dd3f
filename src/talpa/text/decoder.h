#pragma once

#include <memory>
#include <string>
#include <vector>

#include "talpa/base/config.h"

namespace talpa::text {

/// Turns tokens back into text, step by step: each step rewrites the list, and what remains in
/// the end is joined.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

/// From the "decoder" of a tokenizer.json: ByteLevel, WordPiece, Metaspace, BPEDecoder, Replace,
/// ByteFallback, Fuse, Strip, Sequence. Others throw kUnsupported.
std::unique_ptr<const Decoder> make_decoder(const Json& json, const std::string& where);

}  // namespace talpa::text
