#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "talpa/base/config.h"

namespace talpa::train {

struct AdamWConfig {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1;

  static constexpr auto fields() {
    using C = AdamWConfig;
    return std::tuple{
        field("beta1", &C::beta1, "decay of the gradient's mean"),
        field("beta2", &C::beta2, "decay of the gradient's second moment"),
        field("epsilon", &C::epsilon, "added to the root of the second moment"),
        field("weight_decay", &C::weight_decay,
              "decoupled decay of matrices; norms and biases have none"),
        field("clip_norm", &C::clip_norm, "global gradient norm is clipped to this, 0 = not")};
  }
  void validate(const std::string& path) const;
  bool operator==(const AdamWConfig&) const = default;
};

/// AdamW (Loshchilov and Hutter, alg. 2) over named parameters. Parameters of two or more
/// dimensions decay, others do not.
class AdamW {
 public:
  AdamW(std::map<std::string, at::Tensor> parameters, const AdamWConfig& config);

  void zero_grad();
  /// Clips gradients by their global norm and returns the norm before clipping.
  double clip();
  void step(double learning_rate);

  /// Moments as "NAME/mean" and "NAME/square"; the tensors themselves, for saving and loading.
  std::map<std::string, at::Tensor> state() const;
  std::int64_t num_steps() const { return num_steps_; }
  void set_num_steps(std::int64_t steps) { num_steps_ = steps; }

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
