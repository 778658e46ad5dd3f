#include "talpa/eval/speed.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/base/stopwatch.h"
#include "talpa/eval/statistics.h"

namespace talpa {

namespace {

/// Rates of one model, one entry a round.
struct Rates {
  std::vector<double> prefill_cpu, decode_cpu, prefill_wall, decode_wall;

  void add(const Elapsed& prefill, const Elapsed& decode, double prompt, double decoded) {
    prefill_cpu.push_back(prompt / prefill.cpu);
    prefill_wall.push_back(prompt / prefill.wall);
    decode_cpu.push_back(decoded / decode.cpu);
    decode_wall.push_back(decoded / decode.wall);
  }
  Speed medians() const {
    return {median(prefill_cpu), median(decode_cpu), median(prefill_wall), median(decode_wall)};
  }
};

void run_round(Model& model, std::span<const TokenId> prompt, std::span<const TokenId> decoded,
               Rates* rates) {
  KvCache cache(model, static_cast<int>(prompt.size() + decoded.size()));
  auto feed = [&](std::span<const TokenId> tokens) {
    const SequenceInput input{.cache = &cache, .tokens = tokens, .logits = LogitsWanted::kLast};
    model.forward(std::span(&input, 1));
  };
  const Stopwatch prefill_watch;
  feed(prompt);
  const Elapsed prefill = prefill_watch.elapsed();
  const Stopwatch decode_watch;
  for (std::size_t i = 0; i < decoded.size(); ++i) feed(decoded.subspan(i, 1));
  if (rates != nullptr)
    rates->add(prefill, decode_watch.elapsed(), static_cast<double>(prompt.size()),
               static_cast<double>(decoded.size()));
}

}  // namespace

std::vector<Speed> measure_speed(std::span<Model* const> models, std::span<const TokenId> tokens,
                                 const SpeedOptions& options) {
  TALPA_CHECK(!tokens.empty() && options.prompt_tokens > 0 && options.decode_tokens > 0);
  std::vector<TokenId> text;
  const auto wanted = static_cast<std::size_t>(options.prompt_tokens + options.decode_tokens);
  while (text.size() < wanted) text.push_back(tokens[text.size() % tokens.size()]);
  const auto all = std::span<const TokenId>(text);
  const auto prompt = all.first(static_cast<std::size_t>(options.prompt_tokens));
  const auto decoded = all.subspan(prompt.size());
  std::vector<Rates> rates(models.size());
  std::int64_t done = 0;
  for (int round = -1; round < options.rounds; ++round)
    for (std::size_t m = 0; m < models.size(); ++m) {
      if (options.cancelled != nullptr && options.cancelled->load())
        fail(ErrorCode::kInterrupted, "interrupted");
      run_round(*models[m], prompt, decoded, round < 0 ? nullptr : &rates[m]);
      if (options.progress && round >= 0) options.progress(++done);
    }
  std::vector<Speed> result;
  for (const Rates& r : rates) result.push_back(r.medians());
  return result;
}

}  // namespace talpa
