#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

/// Which neurons of a feed-forward layer make an expert.
///   kIndex   neighbours
///   kKMeans  those whose gate rows point alike: balanced k-means of the rows, scaled to length
///            one (MoEfication's parameter clustering, arXiv 2110.01786; gate rows where the
///            feed-forward is gated)
enum class NeuronSplit : std::uint8_t { kIndex, kKMeans };

struct CarveOptions {
  int num_experts = 0;
  NeuronSplit split = NeuronSplit::kIndex;
  std::uint64_t seed = 0;  ///< of k-means' first centres
  /// Type written; nullopt: the stored one if all tensors share F16 or BF16, else F32, so that
  /// nothing is rounded.
  std::optional<DType> dtype;
  bool overwrite = false;
  /// tokenizer.json, or its directory; empty: the model's own, if it has one as a file.
  std::filesystem::path tokenizer;
};

struct CarveReport {
  int num_experts = 0;
  int expert_dim = 0;  ///< neurons of an expert
  NeuronSplit split = NeuronSplit::kIndex;
  DType dtype = DType::kF32;
  /// Of each layer: share of the variance of its scaled gate rows that the experts' means explain.
  std::vector<double> explained;
  double seconds = 0;

  Json to_json() const;
};

/// Description of a dense model's mixture of `num_experts` with all of them on. A llama becomes a
/// mixtral; others get talpa's own layout. Throws kUnsupported for a model with experts, kConfig if
/// num_experts is not a power of two above one or does not divide the feed-forward's width.
DecoderConfig carved_config(const DecoderConfig& dense, int num_experts);

/// Writes a dense model as a mixture that computes the same function, with all N experts on:
///   down silu(gate x) up x  =  sum_i 1/N (N down_i) (silu(gate_i x) up_i x)
/// where expert i holds its neurons' rows of gate and up and columns of down. The router is zero,
/// so that softmax gives each expert 1/N; N is a power of two, so that neither 1/N nor N down_i
/// rounds: only the order of sums differs. Streamed layer by layer; a Hugging Face directory with
/// `carving.json`. Throws as carved_config(), and kConfig where N down_i leaves the range of F16.
CarveReport carve_all_on(const ModelFiles& model, const std::filesystem::path& output,
                         const CarveOptions& options);

}  // namespace talpa::convert

template <>
struct talpa::EnumNames<talpa::convert::NeuronSplit> {
  static constexpr std::pair<talpa::convert::NeuronSplit, const char*> table[] = {
      {talpa::convert::NeuronSplit::kIndex, "index"},
      {talpa::convert::NeuronSplit::kKMeans, "kmeans"}};
};
