#pragma once

#include <torch/types.h>

#include "talpa/model/weights.h"

namespace talpa::convert {

/// A stored weight as an fp32 tensor of its shape.
inline at::Tensor read_tensor(const Weight& weight) {
  at::Tensor values = torch::empty(weight.shape, torch::kFloat);
  weight.read(values.data_ptr<float>());
  return values;
}

}  // namespace talpa::convert
