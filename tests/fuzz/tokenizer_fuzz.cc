// Input: a tokenizer.json, a zero byte, a text.
#include "fuzz.h"
#include "talpa/text/tokenizer.h"
#include "talpa/text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return talpa::fuzz::run(data, size, [](std::string_view input) {
    const auto zero = input.find('\0');
    const std::string_view text =
        zero == std::string_view::npos ? "Hello 123 w\u00f6rld" : input.substr(zero + 1, 2048);
    const auto tokenizer =
        talpa::Tokenizer::from_json(talpa::parse_json(input.substr(0, zero), "fuzz"), "fuzz");
    const auto ids = tokenizer->encode(text);
    for (const talpa::TokenId id : ids)
      talpa::fuzz::require(id >= 0 && id < tokenizer->vocab_size(), "ids are in the vocabulary");
    tokenizer->decode(ids, false);
    talpa::DecodeStream stream(tokenizer);
    for (const talpa::TokenId id : ids)
      talpa::fuzz::require(talpa::text::is_valid_utf8(stream.push(id)), "pieces are whole");
    stream.finish();
  });
}
