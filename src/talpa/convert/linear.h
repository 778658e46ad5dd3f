#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "talpa/convert/method.h"
#include "talpa/convert/metric.h"

namespace talpa::convert {

/// The experts of one group in the projections that share a right factor (gate and up of a shared
/// latent; otherwise one).
struct GroupInput {
  std::vector<Side> sides;
  std::vector<std::int64_t> members;  ///< the experts' numbers in the original
  /// Matrix [M, D] of the s-th side and the k-th member, read anew at every call: a layer's experts
  /// are never held together.
  std::function<at::Tensor(std::size_t s, std::size_t k)> expert_MD;
  std::int64_t latent_dim = 0;     ///< r
  int reduce_rank = 0;             ///< the paper's first phase, 0 = skipped
  int refine = 0;                  ///< rounds of refine_inputs
  const Metric* metric = nullptr;  ///< null without calibration
};

/// W_i ~ left_i right (mole.md 1.2), in solving_type of D.
struct GroupFactors {
  std::vector<at::Tensor> left_KMR;  ///< by side
  at::Tensor right_RD;
};

/// Of a group's matrices one above the other, M = [W_1; ...; W_k] = U S V^T, takes right = V_r^T,
/// left_i = W_i V_r, which is optimal (Eckart-Young-Mirsky): the squared error is the tail sum of
/// squared singular values. With reduce_rank every expert is first cut to that rank; left_i is
/// refitted on the originals all the same.
GroupFactors svd_group(const GroupInput& input);
/// Squared singular values of M, descending: what is lost behind each width.
at::Tensor svd_spectrum(const GroupInput& input);

/// The same in the calibration's metric, which measures what an error does to the layer's output.
/// Gate and up: minimises sum_i tr(D_i (W_i - A_i B) R_i (W_i - A_i B)^T) with the experts' input
/// moments R_i and the effects D_i of their rows (metric.h). With one R = S S^T for the group, B =
/// V_r^T S^-1 of the leading eigenvectors V of sum_i S^T W_i^T D_i W_i S; each A_i then solves its
/// own least squares, A_i = W_i R_i B^T (B R_i B^T)^-1; input.refine rounds of refine_inputs.
/// Down, whose output side is shared: leading eigenvectors of sum_i W_i H_i W_i^T with the
/// experts' hidden moments H_i (closed form of min sum_i tr((W_i - C D_i) H_i (W_i - C D_i)^T)).
GroupFactors whitened_group(const GroupInput& input);
/// The eigenvalues, descending; of gate and up with one R for the group.
at::Tensor whitened_spectrum(const GroupInput& input);

/// Lowers the objective of gate and up where the R_i differ, for which there is no closed form:
/// a round improves B for the given A_i (conjugate gradients on sum_i A_i^T D_i A_i B R_i =
/// sum_i A_i^T D_i W_i R_i), then solves for the A_i. No round makes it worse.
void refine_inputs(const GroupInput& input, GroupFactors& factors);

/// Brings the factors into one gauge, whose products are the same: right's rows orthogonal, the
/// columns of all left factors together too, by descending size, and the sizes split evenly between
/// left and right, which suits narrow types.
void balance(GroupFactors& factors);

/// The reader of a group whose experts are in memory, by side: [K, M, D].
inline auto experts_in_memory(std::vector<at::Tensor> experts_KMD) {
  return [experts_KMD = std::move(experts_KMD)](std::size_t s, std::size_t k) {
    return experts_KMD[s][static_cast<std::int64_t>(k)];
  };
}

/// Latent experts W_i = A_i B_g found group by group in closed form.
class LinearMethod : public Method {
 public:
  DecoderConfig plan(const DecoderConfig& original, const ConvertOptions& options) const override;
  LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
               const FitContext& context) const override;
  double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                          const FitContext& context) const override;
  LayerSpectra spectra(const LayerExperts& experts, const DecoderConfig& target,
                       const FitContext& context) const override;

 protected:
  /// The latent setting that options ask for, widths from a budget still open.
  virtual LatentConfig latent_of(const DecoderConfig& original,
                                 const ConvertOptions& options) const;
  virtual GroupFactors factors_of(const GroupInput& input) const = 0;
  virtual at::Tensor spectrum_of(const GroupInput& input) const = 0;
  /// Fits by a calibration if there is one.
  virtual bool uses_statistics() const { return needs_statistics(); }
};

/// The paper's two phases (arXiv 2503.23100; mole.md 2.1-2.3).
class SvdMethod : public LinearMethod {
 public:
  const char* name() const override { return "svd"; }
  const char* summary() const override { return "stacked SVD of a group's experts, data-free"; }

 protected:
  GroupFactors factors_of(const GroupInput& input) const override { return svd_group(input); }
  at::Tensor spectrum_of(const GroupInput& input) const override { return svd_spectrum(input); }
};

/// The SVD in the metric of what the experts see (mole.md 2.3 b).
class WhitenedSvdMethod : public LinearMethod {
 public:
  const char* name() const override { return "svd-whitened"; }
  const char* summary() const override { return "the SVD weighted by what experts see"; }
  bool needs_statistics() const override { return true; }

 protected:
  GroupFactors factors_of(const GroupInput& input) const override { return whitened_group(input); }
  at::Tensor spectrum_of(const GroupInput& input) const override {
    return whitened_spectrum(input);
  }
};

/// One latent into the experts and one out of them, of one width: NVIDIA's LatentMoE
/// (arXiv 2601.18089) found from trained experts as a Tucker-2 decomposition. Gate and up share
/// their right factor, down's is on its output side; k = N.
class Tucker2Method : public LinearMethod {
 public:
  const char* name() const override { return "tucker2"; }
  const char* summary() const override {
    return "one latent into and one out of all experts (LatentMoE)";
  }

 protected:
  LatentConfig latent_of(const DecoderConfig& original,
                         const ConvertOptions& options) const override;
  GroupFactors factors_of(const GroupInput& input) const override;
  at::Tensor spectrum_of(const GroupInput& input) const override;
  bool uses_statistics() const override { return true; }
};

}  // namespace talpa::convert
