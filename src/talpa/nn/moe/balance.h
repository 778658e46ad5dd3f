#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/base/config.h"

namespace talpa::collective {
class Communicator;
}

namespace talpa::nn {

/// Over which rows the load-balance loss counts an expert's share: those of a micro-batch, of each
/// sequence, or of all micro-batches of a step so far ("Demons in the Detail", arXiv 2501.11873:
/// the wider, the more experts may specialise).
enum class BalanceScope : std::uint8_t { kMicroBatch, kSequence, kGlobalBatch };

/// How the balance of one layer is reckoned.
struct BalanceOptions {
  BalanceScope scope = BalanceScope::kMicroBatch;
  std::int64_t num_sequences = 1;          ///< rows are this many sequences of one length
  std::vector<std::int64_t> earlier_rows;  ///< [N] of this step's earlier micro-batches, or empty
  bool quantile_shift = false;             ///< reckon MoeOutput::bias_shift_N
  collective::Communicator* ranks = nullptr;  ///< whose rows count as one batch
};

/// The shift that balances a batch of rows (quantile balancing as Kimi K3 describes it). With
/// scores s [T, N], selection bias b, K choices a row and q = floor(K T / N):
///   a_t = (K+1)-th largest of s_tj + b_j over j,   c_j = (q+1)-th largest of s_tj + b_j - a_t
/// over t; b - c lets q rows pass in every column at these thresholds. Zeros where K = N.
at::Tensor quantile_shift(const at::Tensor& scores_TN, const at::Tensor& bias_N, int top_k);

/// Auxiliary-loss-free balancing (Wang et al., arXiv 2408.15664, alg. 1): in place,
///   b_e += rate * sign(mean load - load_e).
void step_bias_by_sign(at::Tensor& bias_N, const std::vector<std::int64_t>& rows_per_expert,
                       double rate);

/// b -= rate * shift, then b's mean is taken off: in place.
void step_bias_by_shift(at::Tensor& bias_N, const at::Tensor& shift_N, double rate);

}  // namespace talpa::nn

template <>
struct talpa::EnumNames<talpa::nn::BalanceScope> {
  using S = talpa::nn::BalanceScope;
  static constexpr std::pair<S, const char*> table[] = {{S::kMicroBatch, "micro_batch"},
                                                        {S::kSequence, "sequence"},
                                                        {S::kGlobalBatch, "global_batch"}};
};
