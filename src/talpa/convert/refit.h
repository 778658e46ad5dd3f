#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/convert/linear.h"

namespace talpa::convert {

/// Left factors of gate and up for the given right one, each by its own least squares: A_i =
/// W_i R_i B^T (B R_i B^T)^-1, fp64.
void refit_inputs(const GroupInput& input, GroupFactors& factors);

/// Rows orthonormal, same span.
at::Tensor orthonormal_rows(const at::Tensor& rows_RD);

}  // namespace talpa::convert
