#include "talpa/serve/sampling_body.h"

#include <charconv>
#include <random>

namespace talpa::serve {

namespace {

constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;
constexpr int kMaxTop = 20;

void check_range(const char* name, double value, double least, double most) {
  if (!(value >= least && value <= most))
    fail_field(name, "expected a number from {} to {}, got {}", least, most, value);
}

std::vector<std::string> stops_of(const OrderedJson& json) {
  std::vector<std::string> stops;
  auto add = [&](const OrderedJson& item) {
    if (!item.is_string()) fail_field("stop", "expected a string or a list of strings");
    stops.push_back(item.get<std::string>());
    if (stops.back().empty()) fail_field("stop", "a stop string must not be empty");
    if (stops.back().size() > kMaxStopBytes)
      fail_field("stop", "expected strings of at most {} bytes", kMaxStopBytes);
  };
  if (json.is_array()) {
    if (json.size() > kMaxStops) fail_field("stop", "expected at most {} strings", kMaxStops);
    for (const auto& item : json) add(item);
  } else if (!json.is_null()) {
    add(json);
  }
  return stops;
}

std::vector<LogitBias> biases_of(const OrderedJson& json, int vocab_size) {
  std::vector<LogitBias> biases;
  if (json.is_null()) return biases;
  if (!json.is_object()) fail_field("logit_bias", "expected an object of token ids and numbers");
  for (const auto& [key, value] : json.items()) {
    TokenId token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 || token >= vocab_size)
      fail_field("logit_bias", "'{}' is no token id below {}", key.substr(0, 40), vocab_size);
    if (!value.is_number()) fail_field("logit_bias", "expected numbers");
    check_range("logit_bias", value.get<double>(), -100, 100);
    biases.push_back({token, value.get<double>()});
  }
  return biases;
}

}  // namespace

GenerateOptions generate_options(const SamplingBody& body, int vocab_size) {
  const double repeat = body.repetition_penalty.value_or(body.repeat_penalty);
  check_range("temperature", body.temperature, 0, 2);
  check_range("top_p", body.top_p, 1e-6, 1);
  check_range("top_k", body.top_k, -1, vocab_size);
  check_range("min_p", body.min_p, 0, 1);
  check_range("presence_penalty", body.presence_penalty, -2, 2);
  check_range("frequency_penalty", body.frequency_penalty, -2, 2);
  check_range(body.repetition_penalty ? "repetition_penalty" : "repeat_penalty", repeat, 0.1, 10);
  check_range("n", body.n, 1, 128);
  GenerateOptions options{.stop = stops_of(body.stop), .ignore_eos = body.ignore_eos};
  options.sampler = {.temperature = body.temperature,
                     .top_k = std::max(body.top_k, 0),
                     .top_p = body.top_p,
                     .min_p = body.min_p,
                     .repeat_penalty = repeat,
                     .presence_penalty = body.presence_penalty,
                     .frequency_penalty = body.frequency_penalty,
                     .logit_bias = biases_of(body.logit_bias, vocab_size)};
  options.sampler.seed =
      body.seed ? static_cast<std::uint64_t>(*body.seed) : std::uint64_t{std::random_device{}()};
  return options;
}

bool wants_json(const SamplingBody& body) {
  const std::string& type = body.response_format.type;
  if (type != "text" && type != "json_object")
    fail_field("response_format", "only the types text and json_object are supported, not {}",
               type.substr(0, 40));
  return type == "json_object";
}

void check_num_top(const std::string& field, int count) {
  if (count < 0 || count > kMaxTop)
    fail_field(field, "expected a count from 0 to {}, got {}", kMaxTop, count);
}

std::vector<CompletionRequest> copies_of(const CompletionRequest& request, int n) {
  std::vector<CompletionRequest> copies(static_cast<std::size_t>(n), request);
  for (std::size_t i = 0; i < copies.size(); ++i) copies[i].generate.sampler.seed += i;
  return copies;
}

}  // namespace talpa::serve
