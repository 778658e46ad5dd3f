#include "talpa/train/sharded_optimizer.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/train/adamw.h"
#include "talpa/train/muon.h"

namespace talpa::train {

namespace {

/// The process of each name: the largest first, to whom has least.
std::map<std::string, int> dealt(const NamedTensors& parameters, int num_processes) {
  std::vector<std::pair<std::int64_t, std::string>> by_size;
  for (const auto& [name, value] : parameters) by_size.emplace_back(-value.numel(), name);
  std::sort(by_size.begin(), by_size.end());
  std::vector<std::int64_t> load(static_cast<std::size_t>(num_processes), 0);
  std::map<std::string, int> owner;
  for (const auto& [negative_size, name] : by_size) {
    const auto least = std::min_element(load.begin(), load.end());
    *least -= negative_size;
    owner[name] = static_cast<int>(least - load.begin());
  }
  return owner;
}

bool has_matrix(const NamedTensors& parameters) {
  return std::any_of(parameters.begin(), parameters.end(),
                     [](const auto& entry) { return is_muon_matrix(entry.first, entry.second); });
}

/// A share without a matrix has nothing that Muon would do otherwise than AdamW.
std::unique_ptr<Optimizer> optimizer_of_share(NamedTensors share, const NamedTensors& all,
                                              OptimizerConfig config) {
  if (has_matrix(all) && !has_matrix(share)) config.kind = OptimizerKind::kAdamW;
  return make_optimizer(std::move(share), config);
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(std::map<std::string, at::Tensor> parameters,
                                   const OptimizerConfig& config, Replicas& replicas)
    : Optimizer(std::move(parameters), config.clip_norm),
      replicas_(replicas),
      values_of_(static_cast<std::size_t>(replicas.world().size())) {
  NamedTensors own, shared;
  for (const auto& [name, value] : this->parameters())
    (replicas.is_split(name) ? own : shared).emplace(name, value);
  for (const auto& [name, owner] : dealt(shared, replicas.world().size())) {
    values_of_[static_cast<std::size_t>(owner)].push_back(shared.at(name).detach());
    if (owner == replicas.world().rank()) own.emplace(name, shared.at(name));
  }
  own_ = optimizer_of_share(std::move(own), this->parameters(), config);
}

void ShardedOptimizer::step(double learning_rate) {
  own_->step(learning_rate);
  for (int owner = 0; owner < replicas_.world().size(); ++owner)
    in_buckets(values_of_[static_cast<std::size_t>(owner)],
               [&](const at::Tensor& flat) { replicas_.world().broadcast(flat, owner); });
}

}  // namespace talpa::train
