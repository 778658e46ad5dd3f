#include "talpa/train/ema.h"

#include <torch/torch.h>

namespace talpa::train {

Ema::Ema(std::map<std::string, at::Tensor> parameters, double decay)
    : parameters_(std::move(parameters)), decay_(decay) {
  for (const auto& [name, value] : parameters_) averages_[name] = value.detach().clone();
}

void Ema::update() {
  const torch::NoGradGuard no_grad;
  for (auto& [name, average] : averages_) average.lerp_(parameters_.at(name), 1 - decay_);
}

void Ema::restart() {
  const torch::NoGradGuard no_grad;
  for (auto& [name, average] : averages_) average.copy_(parameters_.at(name));
}

void Ema::swap() {
  const torch::NoGradGuard no_grad;
  for (auto& [name, average] : averages_) {
    const at::Tensor kept = average.clone();
    average.copy_(parameters_.at(name));
    parameters_.at(name).copy_(kept);
  }
}

}  // namespace talpa::train
