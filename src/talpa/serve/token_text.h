#pragma once

#include "talpa/base/config.h"
#include "talpa/engine/log_probability.h"
#include "talpa/text/tokenizer.h"

namespace talpa::serve {

/// A token's text behind another token, or "bytes:\xe2\x80" where its bytes are no whole
/// characters, as OpenAI has it.
std::string token_text(const Tokenizer& tokenizer, TokenId token);

/// Log-probabilities of consecutive tokens as /v1/completions tells them: tokens, token_logprobs,
/// top_logprobs, text_offset. Where several of the most likely tokens have one text, the largest
/// number stands: so a token is the best exactly if its own number is the largest. The first token
/// of a prompt has none: `begins_with_prompt`.
Json completion_logprobs(const Tokenizer& tokenizer, std::span<const TokenLogprob> scores,
                         bool begins_with_prompt, std::size_t& text_offset);
/// As /v1/chat/completions tells them: {"content": [{token, logprob, bytes, top_logprobs}]}.
Json chat_logprobs(const Tokenizer& tokenizer, std::span<const TokenLogprob> scores);

}  // namespace talpa::serve
