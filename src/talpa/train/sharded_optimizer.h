#pragma once

#include <memory>
#include <vector>

#include "talpa/train/optimizer.h"
#include "talpa/train/replicas.h"

namespace talpa::train {

/// ZeRO-1 (Rajbhandari et al., arXiv 1910.02054): every process keeps the state of some parameters,
/// steps those and sends their values to all others. Parameters are dealt by size, the largest
/// first; split ones stay where they are. Updates are those of one process, to the bit.
class ShardedOptimizer : public Optimizer {
 public:
  /// `config` names the optimiser that does the work.
  ShardedOptimizer(std::map<std::string, at::Tensor> parameters, const OptimizerConfig& config,
                   Replicas& replicas);

  void step(double learning_rate) override;
  /// Of this process' parameters only.
  std::map<std::string, at::Tensor> state() const override { return own_->state(); }
  std::int64_t num_steps() const override { return own_->num_steps(); }
  void set_num_steps(std::int64_t steps) override { own_->set_num_steps(steps); }

 private:
  Replicas& replicas_;
  std::vector<std::vector<at::Tensor>> values_of_;  ///< what each process sends after a step
  std::unique_ptr<Optimizer> own_;
};

}  // namespace talpa::train
