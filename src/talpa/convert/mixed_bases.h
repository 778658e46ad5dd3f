#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "talpa/model/decoder_config.h"

namespace talpa::convert {

/// The experts of one projection on mixed bases, W_i = A_i f(sum_j mix_ij B_j) with
/// mix_i = softmax(logits_i) (MoBE, arXiv 2508.05257, section 3; SLBF with B_j = U_j V_j;
/// mole.md 5.1 and 5.2). N experts, G bases, M expert width, R latent width, D model width,
/// K rank of a basis. Down is seen transposed, so that the shared side is last everywhere.
struct MixedBases {
  at::Tensor own_NMR;  ///< A
  at::Tensor logits_NG;
  at::Tensor whole_GRD;            ///< B; undefined where bases are of low rank
  at::Tensor left_GRK, right_GKD;  ///< U and V; undefined where bases are whole
  BasisActivation activation = BasisActivation::kSilu;

  bool low_rank() const { return left_GRK.defined(); }
  at::Tensor mix_NG() const;
  at::Tensor bases_GRD() const;

  /// Those that are defined, by name: "own", "logits", "whole", "left", "right". The tensors
  /// themselves, to be changed in place.
  std::map<std::string, at::Tensor> tensors() const;
  MixedBases clone() const;
  /// Copies values; shapes must be the same.
  void assign(const MixedBases& other);
};

/// f(bases); f as it is.
at::Tensor activated(const at::Tensor& mixed, BasisActivation activation);
/// The matrices that some experts apply their own to, f(sum_j mix_ij B_j): [N, R, D].
at::Tensor formed_bases(const at::Tensor& mix_NG, const at::Tensor& bases_GRD,
                        BasisActivation activation);

}  // namespace talpa::convert
