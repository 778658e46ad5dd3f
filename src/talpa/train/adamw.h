#pragma once

#include <vector>

#include "talpa/train/optimizer.h"

namespace talpa::train {

/// AdamW (Loshchilov and Hutter, alg. 2) over named parameters. Parameters of two or more
/// dimensions decay, others do not.
class AdamW : public Optimizer {
 public:
  AdamW(std::map<std::string, at::Tensor> parameters, const AdamWConfig& config);

  void step(double learning_rate) override;
  /// Moments as "NAME/mean" and "NAME/square".
  std::map<std::string, at::Tensor> state() const override;
  std::int64_t num_steps() const override { return num_steps_; }
  void set_num_steps(std::int64_t steps) override { num_steps_ = steps; }

 private:
  struct Group {
    double weight_decay;
    std::vector<std::string> names;
    std::vector<at::Tensor> values, means, squares;
  };
  void update(Group& group, double learning_rate);

  AdamWConfig config_;
  Group groups_[2];
  std::int64_t num_steps_ = 0;
};

}  // namespace talpa::train
