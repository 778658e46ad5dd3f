#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "talpa/nn/moe/row_map.h"

namespace talpa::nn {

/// N matrices and the targets of each: targets [offsets[e], offsets[e + 1]) are matrix e's;
/// N + 1 values from 0 to S. `map` says which row of another tensor a target stands for.
struct RoutedRows {
  RowMap map;
  std::vector<std::int64_t> offsets;
};

/// Every target's row of x [T, i] times the transpose of its matrix, weight_NOI[e] [o, i]
/// -> [S, o]. Rows are gathered a matrix at a time, each way: no copy of S rows is ever made,
/// and x itself is all that the gradient keeps of it.
at::Tensor gather_linear(const at::Tensor& x_TI, const at::Tensor& weight_NOI,
                         const RoutedRows& rows);

/// Targets y [S, i] times the transpose of their matrix, summed into their rows -> [T, o]. Sums
/// run in the order of targets.
at::Tensor scatter_linear(const at::Tensor& y_SI, const at::Tensor& weight_NOI,
                          const RoutedRows& rows);

}  // namespace talpa::nn
