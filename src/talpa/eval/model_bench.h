#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "talpa/engine/model.h"
#include "talpa/eval/bound.h"

namespace talpa {

struct ModelBenchOptions {
  int prompt_tokens = 512;  ///< of each sequence, fed at once
  int decode_tokens = 128;  ///< of each sequence, fed one by one
  int batch = 1;            ///< sequences
  int context = 0;          ///< tokens that a sequence holds before its prompt
  int rounds = 5;
  LimitMeter* meter = nullptr;                      ///< takes its samples between rounds
  const std::atomic<bool>* cancelled = nullptr;     ///< throws kInterrupted when set
  std::function<void(std::int64_t done)> progress;  ///< of rounds * models
};

/// What it took to load a model from disk.
struct LoadCost {
  double seconds = 0;
  std::uint64_t stored_bytes = 0, packed_bytes = 0;
  /// Memory that no file backs, at its highest while loading, beyond what there was before; 0 =
  /// unknown.
  std::uint64_t peak_anonymous_bytes = 0;
};

/// A model to time.
struct BenchedModel {
  std::string name;
  DType held = DType::kF32;  ///< type of most of its matrices: arithmetic is counted against it
  Model* model = nullptr;
  std::optional<LoadCost> load;  ///< nullopt for random weights
};

/// Prefill or decoding of one model.
struct PhaseSpeed {
  std::int64_t tokens = 0;    ///< of all sequences in one round
  Elapsed round;              ///< medians
  Work work;                  ///< of one round
  LimitShare share;           ///< set by judge()
  double speed = 1;           ///< by the clock, over the first model: median over rounds
  double speed_per_core = 1;  ///< of CPU time
  /// Of the last round, where experts are multiplied out as tokens come.
  std::optional<ExpertCacheStats> experts;

  double tokens_per_second() const { return static_cast<double>(tokens) / round.wall; }
  double tokens_per_core_second() const { return static_cast<double>(tokens) / round.cpu; }
};

struct ModelSpeed {
  std::string name;
  DType held = DType::kF32;
  ExpertForm experts = ExpertForm::kDense;  ///< what the routed experts ran as
  std::uint64_t weight_bytes = 0, active_bytes = 0;
  PhaseSpeed prefill, decode;
  std::optional<LoadCost> load;
};

/// Times models in turn, round after round, on random tokens through Model::forward. One round
/// before is not counted. All models must have the vocabulary of the first.
std::vector<ModelSpeed> bench_models(std::span<const BenchedModel> models,
                                     const ModelBenchOptions& options = {});

/// Fills in what follows from the limits.
void judge(std::span<ModelSpeed> models, const ThreadLimits& limits);

/// Work of feeding `tokens` tokens to each of `batch` sequences that hold `context`, in steps of
/// `step` tokens a sequence with the logits of the last: weights (Model::active_bytes), and keys
/// and values once a step. Multiplying out experts as tokens come is not counted as operations.
Work feed_work(const Model& model, int batch, int context, int tokens, int step);

}  // namespace talpa
