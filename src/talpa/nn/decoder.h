#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "talpa/model/weights.h"

namespace talpa::nn {

/// Parameters by talpa's names and shapes (see model/weights.h).
using Parameters = std::map<std::string, at::Tensor>;

/// What one MoE layer saw in a forward.
struct RouterRecord {
  int layer = 0;
  std::vector<std::int64_t> rows_per_expert;  ///< [N]
};

struct ForwardOptions {
  /// Record routing into ForwardResult::routing.
  bool record_routing = false;
  /// int64 [B, T], next tokens or kIgnoredTarget (-100). Where defined, the cross-entropy is
  /// computed instead of logits, which is faster and never holds a [B, T, V] tensor.
  at::Tensor targets_BT;
};

struct ForwardResult {
  at::Tensor logits_BTV;     ///< B sequences, T tokens, V vocabulary; undefined with targets
  at::Tensor cross_entropy;  ///< mean over counted targets, 0-dim; undefined without targets
  at::Tensor balance_loss;   ///< sum over layers of N sum_e f_e p_e (Switch, eq. 4-6), 0-dim
  at::Tensor z_loss;         ///< sum over layers of mean logsumexp^2 (ST-MoE eq. 5), 0-dim
  std::vector<RouterRecord> routing;
};

/// The laboratory's decoder: every family, dense, MoE and latent experts; differentiable
/// throughout; any floating type (fp64 for numerical checks). The router computes in fp32 or
/// wider.
class Decoder {
 public:
  /// Uninitialised parameters of the description; see initialise() and load().
  explicit Decoder(const DecoderConfig& config, at::ScalarType dtype = at::kFloat);
  ~Decoder();

  const DecoderConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }

  /// Normal(0, 0.02), residual outputs scaled by 1/sqrt(2 layers), norms one. Factored experts
  /// are scaled so that the products have the variance of dense experts. Same seed, same values.
  void initialise(std::uint64_t seed);
  /// Fills from files; every tensor once. Throws kFormat for a malformed pivot mask.
  void load(const ModelFiles& files);
  /// Of all but pivot masks, which are no parameters to train.
  void set_requires_grad(bool on);

  /// tokens_BT: int64, causal attention within each row.
  ForwardResult forward(const at::Tensor& tokens_BT, const ForwardOptions& options = {}) const;

  /// For save_hf_directory.
  WeightProvider provider() const;

 private:
  DecoderConfig config_;
  Parameters parameters_;
};

}  // namespace talpa::nn
