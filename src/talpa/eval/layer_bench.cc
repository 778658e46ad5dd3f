#include "talpa/eval/layer_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "talpa/base/error.h"
#include "talpa/base/random.h"
#include "talpa/eval/random_experts.h"
#include "talpa/eval/statistics.h"
#include "talpa/model/accounting.h"
#include "talpa/model/expert_parts.h"

namespace talpa {

namespace {

/// Bytes of one expert and of one group's latent projections, and groups that a row hits.
struct LayerSizes {
  double expert_bytes, group_bytes, groups_per_row;

  LayerSizes(const DecoderConfig& config, DType held) {
    const MoeConfig& moe = config.moe;
    const ExpertParts parts = expert_parts(config);
    const double bytes_per_param = static_cast<double>(bytes_of(held, 32)) / 32;
    expert_bytes = static_cast<double>(parts.untouched + parts.per_expert) * bytes_per_param;
    group_bytes = static_cast<double>(parts.per_group) * bytes_per_param;
    groups_per_row = expected_groups_hit(moe.num_experts, config.group_size(), moe.top_k);
  }
  double bytes_per_row(int top_k) const {
    return top_k * expert_bytes + groups_per_row * group_bytes;
  }
};

/// How many distinct experts pass by before the first comes again: enough for
/// options.distinct_bytes even at one row, a whole layer unless that is very large, and no more
/// than memory holds for all kinds together.
int num_distinct_experts(const std::vector<LayerSizes>& kinds, const MoeConfig& moe,
                         const LayerBenchOptions& options) {
  constexpr double kLargeLayer = 2e9, kMaxRoutings = 512;
  double least_per_row = kLargeLayer, all_kinds = 0, largest_expert = 0;
  for (const LayerSizes& kind : kinds) {
    least_per_row = std::min(least_per_row, kind.bytes_per_row(moe.top_k));
    largest_expert = std::max(largest_expert, kind.expert_bytes);
    all_kinds += kind.bytes_per_row(moe.top_k) / moe.top_k;
  }
  const double routings = std::min(
      std::ceil(static_cast<double>(options.distinct_bytes) / least_per_row), kMaxRoutings);
  const double layer = std::min<double>(moe.num_experts, std::ceil(kLargeLayer / largest_expert));
  const double wanted = std::max(layer, routings * moe.top_k);
  const double allowed = std::floor(static_cast<double>(options.memory) / all_kinds);
  if (allowed < moe.top_k)
    fail(ErrorCode::kUnsupported,
         "{} experts of a row need {:.1f} GB, and only {:.1f} GB may be used", moe.top_k,
         all_kinds * moe.top_k * 1e-9, static_cast<double>(options.memory) * 1e-9);
  return static_cast<int>(std::min(wanted, allowed));
}

/// One kind of experts with the layers that it passes through in turn.
class LayerLane {
 public:
  LayerLane(const DecoderConfig& config, DType held, int num_experts, ThreadPool& pool)
      : config_(config),
        pool_(pool),
        experts_(config, held, num_experts,
                 static_cast<int>(std::ceil(num_experts / static_cast<double>(config.moe.top_k) *
                                            LayerSizes(config, held).groups_per_row)),
                 pool) {}

  /// Both must outlive the runs.
  void prepare(const std::vector<float>& x_TD, std::span<const DispatchPlan> plans) {
    x_TD_ = x_TD.data();
    plans_ = plans;
    layers_.clear();
    for (const DispatchPlan& plan : plans) layers_.push_back(experts_.next_layer(plan));
    y_TD_.assign(x_TD.size(), 0);
    wall.clear();
    cpu.clear();
  }

  /// Passes through `count` layers from the one at `first` on.
  Elapsed run(std::int64_t first, std::int64_t count) {
    std::fill(y_TD_.begin(), y_TD_.end(), 0.0f);
    const Stopwatch watch;
    for (std::int64_t i = first; i < first + count; ++i) {
      const std::size_t at = static_cast<std::size_t>(i) % layers_.size();
      x_.set(x_TD_, plans_[at].num_rows, config_.dim);
      run_experts(layers_[at], plans_[at], x_, y_TD_.data(), scratch_, pool_);
    }
    return watch.elapsed();
  }

  /// Mean over the layers.
  ExpertWork work() const {
    ExpertWork total;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const ExpertWork work = expert_work(layers_[i], plans_[i]);
      total.bytes += work.bytes / static_cast<double>(layers_.size());
      total.macs += work.macs / static_cast<double>(layers_.size());
    }
    return total;
  }

  const DecoderConfig& config() const { return config_; }
  std::uint64_t held_bytes() const { return experts_.bytes(); }
  std::size_t num_layers() const { return layers_.size(); }

  std::vector<double> wall, cpu;  ///< of one pass, an entry a round

 private:
  DecoderConfig config_;
  ThreadPool& pool_;
  RandomExperts experts_;
  const float* x_TD_ = nullptr;
  std::span<const DispatchPlan> plans_;
  std::vector<ExpertWeights> layers_;
  std::vector<float> y_TD_;
  Activations x_;
  ExpertScratch scratch_;
};

using Lanes = std::vector<std::unique_ptr<LayerLane>>;

double median_ratio(const std::vector<double>& above, const std::vector<double>& below) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < above.size(); ++i) ratios.push_back(above[i] / below[i]);
  return median(ratios);
}

class LayerBench {
 public:
  LayerBench(std::vector<DecoderConfig> kinds, ThreadPool& pool, const LayerBenchOptions& options)
      : kinds_(std::move(kinds)), pool_(pool), options_(options) {}

  void run(DType held, std::vector<LayerSpeed>& results) {
    std::vector<LayerSizes> sizes;
    for (const DecoderConfig& kind : kinds_) sizes.emplace_back(kind, held);
    const int distinct = num_distinct_experts(sizes, kinds_[0].moe, options_);
    Lanes lanes;
    for (const DecoderConfig& kind : kinds_) {
      stop_if_cancelled();
      lanes.push_back(std::make_unique<LayerLane>(kind, held, distinct, pool_));
    }
    for (const int rows : options_.rows) {
      make_rows(rows, distinct);
      time_lanes(lanes);
      const std::size_t dense = results.size();
      for (const auto& lane : lanes) results.push_back(speed_of(*lane, held, rows));
      for (std::size_t i = 1; i < lanes.size(); ++i)
        results[dense + i].gain = gain_of(*lanes[0], results[dense], *lanes[i], results[dense + i]);
    }
  }

 private:
  /// Random rows, and as many routings of them as use up the distinct experts once.
  void make_rows(int rows, int distinct) {
    const MoeConfig& moe = kinds_[0].moe;
    const double hit = expected_experts_hit(moe.num_experts, moe.top_k, rows);
    const int count = static_cast<int>(std::ceil(distinct / hit));
    plans_.clear();
    for (int i = 0; i < count; ++i)
      plans_.push_back(uniform_plan(moe, rows, static_cast<std::uint64_t>(i)));
    x_TD_.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(kinds_[0].dim));
    Random random(1, "activations");
    for (float& x : x_TD_) x = static_cast<float>(random.normal());
  }

  void time_lanes(Lanes& lanes) {
    std::int64_t passes = 1;
    for (const auto& lane : lanes) {
      lane->prepare(x_TD_, plans_);
      passes = std::max(passes, passes_within(*lane));
    }
    std::int64_t first = 0;
    for (int round = 0; round < options_.rounds; ++round, first += passes)
      for (const auto& lane : lanes) {
        stop_if_cancelled();
        if (options_.meter != nullptr) options_.meter->sample();
        const Elapsed elapsed = lane->run(first, passes);
        lane->wall.push_back(elapsed.wall / static_cast<double>(passes));
        lane->cpu.push_back(elapsed.cpu / static_cast<double>(passes));
        if (options_.progress) options_.progress(++done_);
      }
  }

  /// How many passes take options.seconds, after all weights were read once.
  std::int64_t passes_within(LayerLane& lane) const {
    const auto all = static_cast<std::int64_t>(lane.num_layers());
    lane.run(0, all);
    const double pass = lane.run(0, all).wall / static_cast<double>(all);
    return static_cast<std::int64_t>(std::ceil(options_.seconds / pass));
  }

  static LayerSpeed speed_of(const LayerLane& lane, DType held, int rows) {
    LayerSpeed speed{.latent = lane.config().moe.latent, .held = held, .rows = rows};
    const ExpertWork work = lane.work();
    speed.run = {median(lane.wall), median(lane.cpu)};
    speed.bytes = work.bytes;
    speed.macs = work.macs;
    speed.held_bytes = lane.held_bytes();
    return speed;
  }

  static LatentGain gain_of(const LayerLane& dense_lane, const LayerSpeed& dense,
                            const LayerLane& latent_lane, const LayerSpeed& latent) {
    return {.speed = median_ratio(dense_lane.wall, latent_lane.wall),
            .speed_per_core = median_ratio(dense_lane.cpu, latent_lane.cpu),
            .bytes = latent.bytes / dense.bytes,
            .macs = latent.macs / dense.macs};
  }

  void stop_if_cancelled() const {
    if (options_.cancelled != nullptr && options_.cancelled->load())
      fail(ErrorCode::kInterrupted, "interrupted");
  }

  std::vector<DecoderConfig> kinds_;
  ThreadPool& pool_;
  const LayerBenchOptions& options_;
  std::vector<DispatchPlan> plans_;
  std::vector<float> x_TD_;
  std::int64_t done_ = 0;
};

}  // namespace

std::uint64_t LayerBenchOptions::default_distinct_bytes() {
  return std::clamp<std::uint64_t>(4 * last_level_cache_bytes(), 256'000'000, 1'000'000'000);
}

std::int64_t num_layer_runs(std::size_t num_latents, const LayerBenchOptions& options) {
  return static_cast<std::int64_t>(options.dtypes.size() * options.rows.size() *
                                   (1 + num_latents)) *
         options.rounds;
}

std::vector<LayerSpeed> bench_layers(const DecoderConfig& moe,
                                     std::span<const LatentConfig> latents, ThreadPool& pool,
                                     const LayerBenchOptions& options) {
  if (!moe.has_moe()) fail(ErrorCode::kUnsupported, "the model has no experts to time");
  std::vector<DecoderConfig> kinds(1, moe);
  kinds[0].moe.latent = {};
  for (const LatentConfig& latent : latents) {
    DecoderConfig kind = moe;
    kind.moe.latent = latent;
    kind.validate("");
    if (latent.mixed)
      fail(ErrorCode::kUnsupported, "experts on mixed bases run as dense experts: nothing to time");
    kinds.push_back(std::move(kind));
  }
  LayerBench bench(std::move(kinds), pool, options);
  std::vector<LayerSpeed> results;
  for (const DType held : options.dtypes) bench.run(held, results);
  return results;
}

void judge(std::span<LayerSpeed> layers, const ThreadLimits& limits) {
  bool by_bytes = true;
  for (LayerSpeed& layer : layers) {
    layer.share = limit_share({.bytes = layer.bytes, .operations = 2 * layer.macs}, layer.held,
                              layer.run, limits);
    if (!layer.gain) {
      by_bytes = layer.share.by_memory;
      continue;
    }
    layer.gain->by_bytes = by_bytes;
    layer.gain->realised = layer.gain->speed * (by_bytes ? layer.gain->bytes : layer.gain->macs);
  }
}

}  // namespace talpa
