#pragma once

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

}  // namespace talpa::train
