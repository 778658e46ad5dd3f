// N experts, G bases, M expert width, R latent width, D model width, K rank of a basis.
#include "talpa/convert/mixed_bases.h"

#include <torch/torch.h>

namespace talpa::convert {

at::Tensor MixedBases::mix_NG() const { return logits_NG.softmax(1); }

at::Tensor MixedBases::bases_GRD() const {
  return low_rank() ? at::bmm(left_GRK, right_GKD) : whole_GRD;
}

std::map<std::string, at::Tensor> MixedBases::tensors() const {
  std::map<std::string, at::Tensor> all = {{"logits", logits_NG}};
  if (own_NMR.defined()) all["own"] = own_NMR;
  if (low_rank()) {
    all["left"] = left_GRK;
    all["right"] = right_GKD;
  } else {
    all["whole"] = whole_GRD;
  }
  return all;
}

MixedBases MixedBases::clone() const {
  MixedBases copy = *this;
  for (at::Tensor* tensor :
       {&copy.own_NMR, &copy.logits_NG, &copy.whole_GRD, &copy.left_GRK, &copy.right_GKD})
    if (tensor->defined()) *tensor = tensor->clone();
  return copy;
}

void MixedBases::assign(const MixedBases& other) {
  const auto values = other.tensors();
  for (auto& [name, tensor] : tensors()) tensor.copy_(values.at(name));
}

at::Tensor activated(const at::Tensor& mixed, BasisActivation activation) {
  switch (activation) {
    case BasisActivation::kSilu:
      return at::silu(mixed);
    case BasisActivation::kTanh:
      return at::tanh(mixed);
    case BasisActivation::kNone:
      break;
  }
  return mixed;
}

at::Tensor formed_bases(const at::Tensor& mix_NG, const at::Tensor& bases_GRD,
                        BasisActivation activation) {
  return activated(at::mm(mix_NG, bases_GRD.flatten(1)), activation)
      .unflatten(1, {bases_GRD.size(1), bases_GRD.size(2)});
}

}  // namespace talpa::convert
