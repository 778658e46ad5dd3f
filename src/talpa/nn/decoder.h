#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "talpa/model/weights.h"
#include "talpa/nn/moe/balance.h"
#include "talpa/nn/moe/expert_ranks.h"

namespace talpa::nn {

/// Parameters by talpa's names and shapes (see model/weights.h).
using Parameters = std::map<std::string, at::Tensor>;

/// What one MoE layer saw in a forward.
struct RouterRecord {
  int layer = 0;
  std::vector<std::int64_t> rows_per_expert;  ///< [N]
  at::Tensor bias_shift_N;                    ///< see quantile_shift(), if asked for
};

/// Rows of experts by layer.
using LayerLoad = std::map<int, std::vector<std::int64_t>>;

struct ForwardOptions {
  /// Record routing into ForwardResult::routing.
  bool record_routing = false;
  /// int64 [B, T], next tokens or kIgnoredTarget (-100). Where defined, the cross-entropy is
  /// computed instead of logits, which is faster and never holds a [B, T, V] tensor.
  at::Tensor targets_BT;
  /// int64 [B, T], the document of every position: tokens of one see no other. Undefined: one a
  /// sequence. Positions go on counting; rotary attention sees their differences only.
  at::Tensor documents_BT;
  BalanceScope balance_scope = BalanceScope::kMicroBatch;
  /// Rows of this step's earlier micro-batches, for the scope of a global batch.
  const LayerLoad* earlier_rows = nullptr;
  /// Reckon RouterRecord::bias_shift_N; needs a selection bias.
  bool quantile_shift = false;
  /// Layers keep their inputs alone and run again for the gradient (see recompute.h); the decoder
  /// must outlive the graph.
  bool recompute = false;
  /// Processes whose sequences make one batch, and those that share the experts; every one of them
  /// calls forward and backward.
  collective::Communicator* ranks = nullptr;
  ExpertRanks* experts = nullptr;
};

struct ForwardResult {
  at::Tensor logits_BTV;     ///< B sequences, T tokens, V vocabulary; undefined with targets
  at::Tensor cross_entropy;  ///< mean over counted targets, 0-dim; undefined without targets
  at::Tensor balance_loss;   ///< sum over layers of N sum_e f_e p_e (Switch, eq. 4-6), 0-dim
  at::Tensor z_loss;         ///< sum over layers of mean logsumexp^2 (ST-MoE eq. 5), 0-dim
  std::vector<RouterRecord> routing;
};

/// False for what no gradient trains: pivot masks and selection biases.
bool is_trained(const std::string& name);

/// Values of parameters for save_hf_directory.
WeightProvider provider_of(Parameters parameters);

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

  /// nn::initialise at a fixed scale. Same seed, same values.
  void initialise(std::uint64_t seed);
  /// Fills from files; every tensor once. Throws kFormat for a malformed pivot mask.
  void load(const ModelFiles& files);
  /// Of all but pivot masks and selection biases, which no gradient trains.
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
