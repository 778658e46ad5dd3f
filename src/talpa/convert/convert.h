#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/convert/distil.h"
#include "talpa/convert/method.h"
#include "talpa/convert/options.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

/// Error of one projection of one layer.
struct ProjectionReport {
  int layer = 0;
  ProjectionFit fit;
};

struct ConversionReport {
  std::string method;
  LatentConfig latent;  ///< as planned; latent_dim 0 where experts stay dense
  int num_experts = 0;
  double relative_error = 0;             ///< |W - W'|_F / |W|_F over all changed matrices
  std::optional<double> weighted_error;  ///< the same in the calibration's metric
  double expert_share = 0;               ///< routed-expert parameters relative to the original's
  std::int64_t expert_params_before = 0, expert_params_after = 0;
  /// What the experts take in the method's own form at the type written. The files are larger
  /// where they have no form for it: repeated or multiplied-out experts.
  std::int64_t expert_bytes = 0;
  double seconds = 0, estimated_seconds = 0;
  std::vector<ProjectionReport> projections;
  std::optional<DistilReport> refit;  ///< of what came after

  Json to_json() const;
};

/// Rewrites the routed experts of an MoE by options.method, layer by layer and streamed: peak
/// memory is about one layer of experts in fp32. Writes a Hugging Face directory with
/// `conversion.json`, or a GGUF with its report beside it as FILE.json.
ConversionReport convert_model(const ModelFiles& model, const std::filesystem::path& output,
                               const ConvertOptions& options);

/// Writes a latent-expert model with dense experts under the architecture it came from, so that
/// other programs run it.
void materialise(const ModelFiles& model, const std::filesystem::path& output, DType dtype,
                 bool overwrite);

/// Copies a tensor's bytes as they are stored if they are of this type; else returns false.
bool copy_stored(const Weight& weight, DType dtype, std::span<std::byte> target);

/// The folder that a GGUF's tokenizer can come from: the model's, if it has a tokenizer.json.
std::filesystem::path tokenizer_folder(const ModelFiles& model);

/// Description of a latent-expert model with dense experts.
DecoderConfig materialised_config(const DecoderConfig& config);
/// Provides the tensors of `materialised_config` from a latent-expert model's.
WeightProvider materialising_provider(const ModelFiles& model);

}  // namespace talpa::convert
