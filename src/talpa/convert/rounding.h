#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <vector>

#include "talpa/format/dtype.h"

namespace talpa::convert {

/// A matrix as a file will hold it.
struct RoundedMatrix {
  at::Tensor values_RC;          ///< fp32, what the bytes stand for
  std::vector<std::byte> bytes;  ///< row by row
};

/// Rounds weight_RC, which is applied to inputs x of width C, to `dtype`: Q8_0, Q4_0, Q3_0 or Q2_0
/// (columns in whole blocks of 32, else kShape), or any other written type (to the nearest).
///
/// With the inputs' second moment H = sum x x^T (any scale, positive semidefinite) the error
/// tr((W - W') H (W - W')^T) is made small by GPTQ (Frantar et al. 2023, arXiv 2210.17323,
/// algorithm 1): columns are rounded from the left, and each passes its error on to those still
/// open through the Cholesky factor of (H + 0.01 mean(diag H) I)^-1. A block's scale is the one of
/// least squared error for its elements as they stand when the block is reached, for Q3_0 and Q2_0
/// the best of eight around it by the error left after the block has passed its own on. Rows for
/// which plain rounding happens to be better in H keep that, so no row is ever worse. Without a
/// moment every block gets its best scale (best_scale_of). Matrices that the format can hold
/// exactly stay as they are.
RoundedMatrix round_blocks(const at::Tensor& weight_RC, DType dtype,
                           const at::Tensor& moment_CC = {});

/// Square of the error of rounding, relative to the square of what is rounded, for normally
/// distributed elements: about 0.03 for Q3_0, 0.01 for Q4_0; 0 for F32.
double rounding_noise(DType dtype);

/// A least-squares solution that is about to be rounded.
struct FitForRounding {
  at::Tensor solution_MR;  ///< fp32
  at::Tensor gram_RR;      ///< fp64, with the ridge: the metric to round the solution in
};

/// X [M, R] with X gram = target, held back by a ridge of mean(diag gram) times the
/// `noise` of its type (rounding_noise). Where rows of what X multiplies are nearly
/// dependent, the plain solution has large entries that cancel; once rounded they no longer do.
FitForRounding fit_for_rounding(const at::Tensor& target_MR, const at::Tensor& gram_RR,
                                double noise);

/// Types of the factors of W_i ~ left_i right, or left right_i.
struct FactorTypes {
  DType left = DType::kQ4_0;
  DType right = DType::kQ8_0;
};

/// A_i and B of W_i ~ A_i B.
struct RoundedFactors {
  std::vector<RoundedMatrix> left;
  std::vector<RoundedMatrix> right;
};

/// Experts that share a factor. Matrices are made when asked for: a moment each, of 128 experts and
/// width 2048, would be 4 GB.
struct ExpertsToRound {
  std::size_t count = 0;
  std::function<at::Tensor(std::size_t i)> weight;  ///< W_i
  std::function<at::Tensor(std::size_t i)> moment;  ///< H_i of its inputs; null: the identity
};

/// Rounds the factors of experts W_i [M, D] ~ A_i B: first B, given, with the inputs' moment
/// sum_i H_i; then A_i, refitted to W_i by least squares in its moment on the rounded B, A_i = W_i
/// H_i B^T (B H_i B^T)^-1, with the moment B H_i B^T of its own input. Moments are [D, D].
RoundedFactors round_input_factors(const ExpertsToRound& experts_MD, const at::Tensor& right_RD,
                                   FactorTypes types);

/// The same where the output side is shared, W_i [D, M] ~ C D_i: first D_i, given, with its input's
/// moment H_i [M, M]; then the one C refitted to all W_i on the rounded D_i and rounded with
/// sum_i D_i H_i D_i^T.
RoundedFactors round_output_factors(const ExpertsToRound& experts_DM, const at::Tensor& rights_NRM,
                                    FactorTypes types);

}  // namespace talpa::convert
