#pragma once

#include <fmt/core.h>

#include "talpa/base/config.h"
#include "talpa/text/tokenizer.h"

namespace talpa::testing {

/// As SentencePiece models have it: "▁" for spaces, and bytes for what is no token.
inline std::shared_ptr<const Tokenizer> fallback_tokenizer() {
  Json vocab = {{"<unk>", 0}};
  auto add = [&](const std::string& token) { vocab[token] = vocab.size(); };
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte));
  for (const char* token : {"\xe2\x96\x81", "\xe2\x96\x81{", "{", "}", "a", "\xe2\x96\x81:"})
    add(token);
  const Json json = {
      {"version", "1.0"},
      {"added_tokens",
       {{{"id", 0},
         {"content", "<unk>"},
         {"special", true},
         {"single_word", false},
         {"lstrip", false},
         {"rstrip", false},
         {"normalized", false}}}},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Metaspace"},
        {"replacement", "\xe2\x96\x81"},
        {"prepend_scheme", "always"},
        {"split", false}}},
      {"post_processor", nullptr},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", "\xe2\x96\x81"}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"vocab", vocab},
        {"merges", Json::array()}}}};
  return Tokenizer::from_json(json, "test");
}

}  // namespace talpa::testing
