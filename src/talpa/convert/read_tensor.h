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

/// Gives back the memory that a stored weight took when it was read: whoever holds a layer in fp32
/// need not hold it as stored too.
inline void release(const ModelFiles& model, const Weight& weight) {
  for (const TensorView& piece : weight.pieces) model.store->release(piece.bytes);
}

}  // namespace talpa::convert
