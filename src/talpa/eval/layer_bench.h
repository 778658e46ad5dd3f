#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "talpa/eval/bound.h"
#include "talpa/model/decoder_config.h"

namespace talpa {

struct LayerBenchOptions {
  std::vector<DType> dtypes = {DType::kBF16};
  std::vector<int> rows = {1, 8, 32, 512};
  int rounds = 5;
  double seconds = 0.05;  ///< at least, of each layer in each round
  /// Weights that should pass by before any is read again. Default: 256 MB, or four last-level
  /// caches up to 1 GB.
  std::uint64_t distinct_bytes = default_distinct_bytes();
  std::uint64_t memory = std::uint64_t{4} << 30;    ///< that weights may take
  LimitMeter* meter = nullptr;                      ///< takes its samples between rounds
  const std::atomic<bool>* cancelled = nullptr;     ///< throws kInterrupted when set
  std::function<void(std::int64_t done)> progress;  ///< rounds of one layer, see num_layer_runs

  static std::uint64_t default_distinct_bytes();
};

/// A layer of latent experts against the dense one of the same type and rows. The three ratios are
/// dense / latent of time and latent / dense of work.
struct LatentGain {
  double speed = 0;           ///< by the clock: median over rounds
  double speed_per_core = 0;  ///< of CPU time
  double bytes = 0;
  double macs = 0;
  /// Speed over what the work promises: times the ratio of bytes where reading limits the dense
  /// layer, of multiply-adds where arithmetic does. One = all of the saving became time. Set by
  /// judge().
  double realised = 0;
  bool by_bytes = true;
};

struct LayerSpeed {
  LatentConfig latent;  ///< not enabled: dense experts
  DType held = DType::kF32;
  int rows = 0;
  Elapsed run;                     ///< one pass of the rows through the layer, medians
  double bytes = 0, macs = 0;      ///< of one pass, means over routings
  std::uint64_t held_bytes = 0;    ///< of distinct weights that passed in turn
  LimitShare share;                ///< set by judge()
  std::optional<LatentGain> gain;  ///< of latent experts, whose dense layer stands before them

  double bytes_per_second() const { return bytes / run.wall; }
  double operations_per_second() const { return 2 * macs / run.wall; }
  double operations_per_core_second() const { return 2 * macs / run.cpu; }
};

/// Times the experts of one MoE layer (run_experts alone, routing done before) with random weights
/// and uniform routing: dense ones, and each of `latents`, run in turn on the same routings, round
/// after round. Settings of `moe` itself are ignored. Throws kConfig for a latent setting that does
/// not fit, kUnsupported for mixed bases or when memory is too small.
std::vector<LayerSpeed> bench_layers(const DecoderConfig& moe,
                                     std::span<const LatentConfig> latents, ThreadPool& pool,
                                     const LayerBenchOptions& options = {});

/// Fills in what follows from the limits.
void judge(std::span<LayerSpeed> layers, const ThreadLimits& limits);

/// Calls of progress to expect.
std::int64_t num_layer_runs(std::size_t num_latents, const LayerBenchOptions& options);

}  // namespace talpa
