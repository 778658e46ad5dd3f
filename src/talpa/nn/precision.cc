#include "talpa/nn/precision.h"

namespace talpa::nn {

at::ScalarType wide_type(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor widen(const at::Tensor& x) { return x.to(wide_type(x.scalar_type())); }

bool is_float_on_cpu(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

}  // namespace talpa::nn
