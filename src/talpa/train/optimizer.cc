#include "talpa/train/optimizer.h"

#include <torch/torch.h>

#include <cmath>

#include "talpa/base/log.h"
#include "talpa/train/adamw.h"
#include "talpa/train/muon.h"
#include "talpa/train/replicas.h"

namespace talpa::train {

void OptimizerConfig::validate(const std::string& path) const {
  AdamWConfig::validate(path);
  muon.validate(path + ".muon");
  if (kind != OptimizerKind::kMuon && muon != MuonConfig{})
    log::warn("{}.muon is ignored: {}.kind is {}", path, path, enum_name(kind));
}

void Optimizer::zero_grad() {
  for (auto& [name, value] : parameters_) value.mutable_grad().reset();
}

double Optimizer::clip(Replicas* replicas) {
  const torch::NoGradGuard no_grad;
  double square = 0, square_of_shares = 0;
  for (const auto& [name, value] : parameters_)
    if (value.grad().defined()) {
      const double norm = value.grad().norm().item<double>();
      (replicas != nullptr && replicas->is_split(name) ? square_of_shares : square) += norm * norm;
    }
  if (replicas != nullptr) square += replicas->sum_of_shares(square_of_shares);
  if (replicas != nullptr) square = replicas->first_value(square);
  const double norm = std::sqrt(square);
  if (clip_norm_ > 0 && norm > clip_norm_)
    for (auto& [name, value] : parameters_)
      if (value.grad().defined()) value.mutable_grad().mul_(clip_norm_ / norm);
  return norm;
}

std::unique_ptr<Optimizer> make_optimizer(std::map<std::string, at::Tensor> parameters,
                                          const OptimizerConfig& config) {
  if (config.kind == OptimizerKind::kMuon)
    return std::make_unique<Muon>(std::move(parameters), config);
  return std::make_unique<AdamW>(std::move(parameters), config);
}

}  // namespace talpa::train
