#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

struct ConvertOptions {
  std::string method = "svd";
  LatentConfig latent;  ///< latent_dim 0: from `budget`
  double budget = 0;    ///< share of the routed experts' parameters that may be kept, 0 = none
  int reduce_rank = 0;  ///< the paper's first phase, 0 = skipped
  DType dtype = DType::kBF16;
  bool materialise = false;  ///< write dense experts under the original architecture
  bool overwrite = false;
};

/// Error of one projection of one layer.
struct ProjectionReport {
  int layer = 0;
  std::string projection;
  double relative_error = 0;  ///< |W - W'|_F / |W|_F over the layer's experts
  double seconds = 0;
};

struct ConversionReport {
  std::string method;
  LatentConfig latent;
  double relative_error = 0;  ///< over all factored matrices
  double expert_share = 0;    ///< routed-expert parameters relative to the original's
  std::int64_t expert_params_before = 0, expert_params_after = 0;
  double seconds = 0;
  std::vector<ProjectionReport> projections;

  Json to_json() const;
};

/// The latent setting that `options` asks for on this model: as given, or the largest latent
/// width within the budget. Throws kConfig with the reason when it would not shrink the model.
LatentConfig chosen_latent(const DecoderConfig& config, const ConvertOptions& options);

/// Rewrites the routed experts of an MoE as latent experts, layer by layer and streamed: peak
/// memory is about one layer of experts in fp32. Writes a Hugging Face directory with
/// `conversion.json`.
ConversionReport convert_to_latent(const ModelFiles& model, const std::filesystem::path& output,
                                   const ConvertOptions& options);

/// Writes a latent-expert model with dense experts under the architecture it came from, so that
/// other programs run it.
void materialise(const ModelFiles& model, const std::filesystem::path& output, DType dtype,
                 bool overwrite);

/// Description of a latent-expert model with dense experts.
DecoderConfig materialised_config(const DecoderConfig& config);
/// Provides the tensors of `materialised_config` from a latent-expert model's.
WeightProvider materialising_provider(const ModelFiles& model);

}  // namespace talpa::convert
