// Input: the body of a request.
#include "fuzz.h"
#include "talpa/serve/sampling_body.h"

namespace {

struct FuzzedBody : talpa::serve::SamplingBody {
  talpa::serve::OrderedJson prompt;
  std::optional<int> logprobs;

  static constexpr auto fields() {
    return std::tuple_cat(fields_of<FuzzedBody>(),
                          std::tuple{talpa::field("prompt", &FuzzedBody::prompt, ""),
                                     talpa::field("logprobs", &FuzzedBody::logprobs, "")});
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return talpa::fuzz::run(data, size, [](std::string_view input) {
    try {
      const auto body = talpa::serve::request_of<FuzzedBody>(std::string(input));
      const auto options = talpa::serve::generate_options(body, 4096);
      options.sampler.validate("sampler");
      for (const auto& bias : options.sampler.logit_bias)
        talpa::fuzz::require(bias.token >= 0 && bias.token < 4096, "a token of the vocabulary");
    } catch (const talpa::serve::ApiError& error) {
      talpa::fuzz::require(error.status == 400, "what a body does wrong is the client's");
      talpa::serve::text_of(error.json());
    }
  });
}
