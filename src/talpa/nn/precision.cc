#include "talpa/nn/precision.h"

namespace talpa::nn {

at::ScalarType wide_type(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor widen(const at::Tensor& x) { return x.to(wide_type(x.scalar_type())); }

}  // namespace talpa::nn
