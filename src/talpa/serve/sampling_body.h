#pragma once

#include "talpa/engine/completions.h"
#include "talpa/serve/request_json.h"

namespace talpa::serve {

struct StreamOptionsBody {
  bool include_usage = false;

  static constexpr auto fields() {
    return std::tuple{field("include_usage", &StreamOptionsBody::include_usage,
                            "send the counts of tokens at the end of a stream")};
  }
};

struct ResponseFormatBody {
  std::string type = "text";

  static constexpr auto fields() {
    return std::tuple{field("type", &ResponseFormatBody::type, "text or json_object")};
  }
};

/// What requests for completions and for chats have in common.
struct SamplingBody {
  double temperature = 1;
  double top_p = 1;
  int top_k = 0;
  double min_p = 0;
  double presence_penalty = 0;
  double frequency_penalty = 0;
  double repeat_penalty = 1;
  std::optional<double> repetition_penalty;  ///< another name of repeat_penalty
  OrderedJson logit_bias;
  OrderedJson stop;
  std::optional<std::int64_t> seed;
  std::optional<std::int64_t> max_tokens;
  int n = 1;
  bool ignore_eos = false;
  bool stream = false;
  StreamOptionsBody stream_options;
  ResponseFormatBody response_format;

  template <class C>
  static constexpr auto fields_of() {
    return std::tuple{field("temperature", &C::temperature, "0 = greedy, at most 2"),
                      field("top_p", &C::top_p, "keep the best that hold this mass, 1 = off"),
                      field("top_k", &C::top_k, "keep the k best, 0 or -1 = off"),
                      field("min_p", &C::min_p, "drop below this share of the best, 0 = off"),
                      field("presence_penalty", &C::presence_penalty, "-2 to 2"),
                      field("frequency_penalty", &C::frequency_penalty, "-2 to 2"),
                      field("repeat_penalty", &C::repeat_penalty, "1 = off"),
                      field("repetition_penalty", &C::repetition_penalty, "the same"),
                      field("logit_bias", &C::logit_bias, "{\"token id\": -100 to 100}"),
                      field("stop", &C::stop, "a string or up to 16, not part of the text"),
                      field("seed", &C::seed, "same seed, same text"),
                      field("max_tokens", &C::max_tokens, "tokens to generate at most"),
                      field("n", &C::n, "answers to each prompt"),
                      field("ignore_eos", &C::ignore_eos, "go on after an end-of-text token"),
                      field("stream", &C::stream, "send the text as it comes"),
                      field("stream_options", &C::stream_options, "include_usage"),
                      field("response_format", &C::response_format, "type")};
  }
};

/// The options of one answer, without max_tokens. Throws ApiError naming the field that is out of
/// range. Without a seed one is drawn.
GenerateOptions generate_options(const SamplingBody& body, int vocab_size);

/// Whether the text is to be a JSON object. Throws ApiError for another format than that or text.
bool wants_json(const SamplingBody& body);

/// Throws ApiError unless 0 <= count <= 20, the log-probabilities that may be asked for.
void check_num_top(const std::string& field, int count);

/// Copies of a request with seeds of their own.
std::vector<CompletionRequest> copies_of(const CompletionRequest& request, int n);

}  // namespace talpa::serve
