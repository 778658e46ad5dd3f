// Input: a text of JSON mode. Compared with nlohmann's reader.
#include "engine/json_oracle.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return talpa::fuzz::run(data, size, [](std::string_view input) {
    const auto verdict = talpa::testing::judge_json(input);
    if (verdict.last != talpa::JsonStep::kTooMuch)
      talpa::fuzz::require(verdict.complete() == talpa::testing::is_json_object(input),
                           "an object is taken, nothing else is");
    if (verdict.last != talpa::JsonStep::kTaken) return;
    const std::string whole = std::string(input) + talpa::testing::json_ending(verdict.acceptor);
    talpa::fuzz::require(talpa::testing::is_json_object(whole), "what was taken can be completed");
  });
}
