#include "talpa/train/adamw.h"

#include <torch/torch.h>

namespace talpa::train {

void AdamWConfig::validate(const std::string& path) const {
  for (const auto& [name, beta] : {std::pair{"beta1", beta1}, std::pair{"beta2", beta2}})
    if (!(beta >= 0 && beta < 1))
      fail(ErrorCode::kConfig, "{}.{} = {} is not in [0, 1)", path, name, beta);
  if (!(epsilon > 0)) fail(ErrorCode::kConfig, "{}.epsilon = {} is not positive", path, epsilon);
  if (!(weight_decay >= 0))
    fail(ErrorCode::kConfig, "{}.weight_decay = {} is negative", path, weight_decay);
  if (!(clip_norm >= 0)) fail(ErrorCode::kConfig, "{}.clip_norm = {} is negative", path, clip_norm);
}

AdamW::AdamW(std::map<std::string, at::Tensor> parameters, const AdamWConfig& config)
    : Optimizer(std::move(parameters), config.clip_norm), config_(config) {
  groups_[0].weight_decay = config.weight_decay;
  groups_[1].weight_decay = 0;
  for (const auto& [name, value] : this->parameters()) {
    Group& group = groups_[value.dim() >= 2 ? 0 : 1];
    group.names.push_back(name);
    group.values.push_back(value);
    group.means.push_back(torch::zeros_like(value, torch::requires_grad(false)));
    group.squares.push_back(torch::zeros_like(value, torch::requires_grad(false)));
  }
}

void AdamW::update(Group& group, double learning_rate) {
  std::vector<at::Tensor> values, gradients, means, squares, steps;
  for (std::size_t i = 0; i < group.values.size(); ++i) {
    if (!group.values[i].grad().defined()) continue;
    values.push_back(group.values[i].detach());
    gradients.push_back(group.values[i].grad());
    means.push_back(group.means[i]);
    squares.push_back(group.squares[i]);
    // The fused kernel takes the count of this step, one tensor a parameter.
    steps.push_back(torch::full({}, static_cast<float>(num_steps_ + 1), means.back().options()));
  }
  if (values.empty()) return;
  at::_fused_adamw_(values, gradients, means, squares, {}, steps, learning_rate, config_.beta1,
                    config_.beta2, group.weight_decay, config_.epsilon, /*amsgrad=*/false,
                    /*maximize=*/false);
}

void AdamW::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  for (auto& group : groups_) update(group, learning_rate);
  ++num_steps_;
}

std::map<std::string, at::Tensor> AdamW::state() const {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& group : groups_)
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      tensors[group.names[i] + "/mean"] = group.means[i];
      tensors[group.names[i] + "/square"] = group.squares[i];
    }
  return tensors;
}

}  // namespace talpa::train
