#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace talpa::nn {

/// Rows sorted by matrix times that matrix: rows [offsets[e], offsets[e+1]) of x_SI [S, i] times
/// the transpose of weight_NOI[e] [o, i] -> [S, o]. offsets: N + 1 values from 0 to S. Experts
/// are the matrices of sorted slots; groups those of group rows.
at::Tensor grouped_linear(const at::Tensor& x_SI, const at::Tensor& weight_NOI,
                          const std::vector<std::int64_t>& offsets);

/// The same composed of autograd's own operations: the reference of tests.
at::Tensor grouped_linear_reference(const at::Tensor& x_SI, const at::Tensor& weight_NOI,
                                    const std::vector<std::int64_t>& offsets);

}  // namespace talpa::nn
