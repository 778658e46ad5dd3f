#include "talpa/eval/model_bench.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/base/random.h"
#include "talpa/eval/statistics.h"
#include "talpa/model/accounting.h"

namespace talpa {

namespace {

/// What the engine multiplies with: experts on mixed bases are dense there, and others may be.
DecoderConfig run_config(const Model& model) {
  DecoderConfig run = model.config();
  if (run.moe.latent.mixed || model.expert_form() == ExpertForm::kDense) run.moe.latent = {};
  return run;
}

/// Times of one model, an entry a round.
struct PhaseTimes {
  std::vector<double> wall, cpu;
  std::vector<ExpertCacheStats> experts;  ///< empty where there is no cache

  void add(const Elapsed& elapsed) {
    wall.push_back(elapsed.wall);
    cpu.push_back(elapsed.cpu);
  }
};

double median_of_ratios(const std::vector<double>& above, const std::vector<double>& below) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < above.size(); ++i) ratios.push_back(above[i] / below[i]);
  return median(ratios);
}

/// A model with its sequences, all at the same length.
class ModelLane {
 public:
  ModelLane(const BenchedModel& benched, const ModelBenchOptions& options)
      : benched_(benched), options_(options) {
    const int capacity = options.context + options.prompt_tokens + options.decode_tokens;
    for (int i = 0; i < options.batch; ++i) caches_.emplace_back(model(), capacity);
  }

  void feed(std::span<const TokenId> tokens_BT, int length) {
    std::vector<SequenceInput> inputs;
    for (std::size_t i = 0; i < caches_.size(); ++i)
      inputs.push_back({&caches_[i],
                        tokens_BT.subspan(i * static_cast<std::size_t>(length),
                                          static_cast<std::size_t>(length)),
                        LogitsWanted::kLast});
    model().forward(inputs);
  }
  void rewind() {
    for (KvCache& cache : caches_) cache.truncate(options_.context);
  }

  void run_round(std::span<const TokenId> prompt_BT, std::span<const TokenId> decoded_TB) {
    rewind();
    const auto at_start = model().expert_cache();
    const Stopwatch prefilling;
    feed(prompt_BT, options_.prompt_tokens);
    prefill.add(prefilling.elapsed());
    const auto between = model().expert_cache();
    const Stopwatch decoding;
    const std::size_t batch = caches_.size();
    for (std::size_t t = 0; t < decoded_TB.size(); t += batch)
      feed(decoded_TB.subspan(t, batch), 1);
    decode.add(decoding.elapsed());
    if (!at_start) return;
    prefill.experts.push_back(between->since(*at_start));
    decode.experts.push_back(model().expert_cache()->since(*between));
  }

  Model& model() const { return *benched_.model; }
  const BenchedModel& benched() const { return benched_; }

  PhaseTimes prefill, decode;

 private:
  const BenchedModel& benched_;
  const ModelBenchOptions& options_;
  std::vector<KvCache> caches_;
};

PhaseSpeed phase_speed(const PhaseTimes& times, const PhaseTimes& first, std::int64_t tokens,
                       const Work& work) {
  PhaseSpeed phase{.tokens = tokens, .round = {median(times.wall), median(times.cpu)}};
  phase.work = work;
  phase.speed = median_of_ratios(first.wall, times.wall);
  phase.speed_per_core = median_of_ratios(first.cpu, times.cpu);
  if (!times.experts.empty()) phase.experts = times.experts.back();
  return phase;
}

ModelSpeed speed_of(const ModelLane& lane, const ModelLane& first, const ModelBenchOptions& o) {
  const Model& model = lane.model();
  ModelSpeed speed{.name = lane.benched().name,
                   .held = lane.benched().held,
                   .experts = model.expert_form(),
                   .weight_bytes = model.weight_bytes(),
                   .active_bytes = model.active_bytes(),
                   .load = lane.benched().load};
  speed.prefill =
      phase_speed(lane.prefill, first.prefill, std::int64_t{o.batch} * o.prompt_tokens,
                  feed_work(model, o.batch, o.context, o.prompt_tokens, o.prompt_tokens));
  speed.decode =
      phase_speed(lane.decode, first.decode, std::int64_t{o.batch} * o.decode_tokens,
                  feed_work(model, o.batch, o.context + o.prompt_tokens, o.decode_tokens, 1));
  return speed;
}

void check(const ModelBenchOptions& o, std::span<const BenchedModel> models) {
  TALPA_CHECK(!models.empty() && o.prompt_tokens > 0 && o.decode_tokens > 0 && o.batch > 0 &&
              o.context >= 0 && o.rounds > 0);
}

}  // namespace

Work feed_work(const Model& model, int batch, int context, int tokens, int step) {
  const DecoderConfig config = run_config(model);
  const Account account = account_of(config);
  const double steps = static_cast<double>(tokens) / step;
  const double head = static_cast<double>(config.vocab_size) * config.dim;
  const double fed = static_cast<double>(batch) * tokens;
  const double kv_bytes = static_cast<double>(account.kv_elements_per_token) *
                          static_cast<double>(bytes_of(model.kv_type(), 32)) / 32;
  Work work;
  work.bytes = steps * static_cast<double>(model.active_bytes(batch * step)) +
               batch * kv_bytes * (steps * context + step * steps * (steps + 1) / 2);
  work.operations = 2 * (fed * (account.macs_per_token - head) + steps * batch * head);
  // A token looks at those before it and itself: scores and sums of head_dim for every head.
  const double seen = fed * (context + (tokens + 1) / 2.0);
  work.float_operations =
      2.0 * 2 * seen * config.num_layers * config.attention.num_heads * config.attention.head_dim;
  return work;
}

std::vector<ModelSpeed> bench_models(std::span<const BenchedModel> models,
                                     const ModelBenchOptions& options) {
  check(options, models);
  const int vocab_size = models[0].model->config().vocab_size;
  Random random(1, "tokens");
  auto random_tokens = [&](int count) {
    std::vector<TokenId> tokens(static_cast<std::size_t>(count) *
                                static_cast<std::size_t>(options.batch));
    for (TokenId& token : tokens)
      token = static_cast<TokenId>(random.below(static_cast<std::uint64_t>(vocab_size)));
    return tokens;
  };
  const auto before = random_tokens(options.context), prompt = random_tokens(options.prompt_tokens),
             decoded = random_tokens(options.decode_tokens);
  std::vector<ModelLane> lanes;
  lanes.reserve(models.size());
  for (const BenchedModel& model : models) {
    TALPA_CHECK(model.model->config().vocab_size == vocab_size);
    ModelLane& lane = lanes.emplace_back(model, options);
    if (options.context > 0) lane.feed(before, options.context);
    lane.run_round(prompt, decoded);
    lane.prefill = lane.decode = {};
  }
  std::int64_t done = 0;
  for (int round = 0; round < options.rounds; ++round)
    for (ModelLane& lane : lanes) {
      if (options.cancelled != nullptr && options.cancelled->load())
        fail(ErrorCode::kInterrupted, "interrupted");
      if (options.meter != nullptr) options.meter->sample();
      lane.run_round(prompt, decoded);
      if (options.progress) options.progress(++done);
    }
  std::vector<ModelSpeed> result;
  for (const ModelLane& lane : lanes) result.push_back(speed_of(lane, lanes[0], options));
  return result;
}

void judge(std::span<ModelSpeed> models, const ThreadLimits& limits) {
  for (ModelSpeed& model : models)
    for (PhaseSpeed* phase : {&model.prefill, &model.decode})
      phase->share = limit_share(phase->work, model.held, phase->round, limits);
}

}  // namespace talpa
