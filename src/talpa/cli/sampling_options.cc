#include "talpa/cli/sampling_options.h"

namespace talpa::cli {

void add_sampling_options(CLI::App& app, SamplerOptions& sampler) {
  constexpr const char* kGroup = "Sampling";
  app.add_option("--temp", sampler.temperature, "Temperature, 0 = greedy")->group(kGroup);
  app.add_option("--top-k", sampler.top_k, "Keep the K best, 0 = off")->group(kGroup);
  app.add_option("--top-p", sampler.top_p, "Keep the best that hold this mass, 1 = off")
      ->group(kGroup);
  app.add_option("--min-p", sampler.min_p, "Drop below this share of the best, 0 = off")
      ->group(kGroup);
  app.add_option("--repeat-penalty", sampler.repeat_penalty, "Penalty on recent tokens, 1 = off")
      ->group(kGroup);
  app.add_option("--repeat-last", sampler.repeat_last, "Tokens the penalty looks back on")
      ->group(kGroup);
  app.add_option("-s,--seed", sampler.seed, "Same seed, same text")->group(kGroup);
}

}  // namespace talpa::cli
