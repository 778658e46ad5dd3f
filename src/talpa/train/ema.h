#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace talpa::train {

/// Exponential moving average of parameters, e <- decay e + (1 - decay) w after every step.
class Ema {
 public:
  /// Starts as a copy of the parameters.
  Ema(std::map<std::string, at::Tensor> parameters, double decay);

  void update();
  /// Starts anew from the parameters as they are.
  void restart();
  /// Exchanges averages and parameters in place; once more restores both.
  void swap();
  /// The averages themselves by parameter name, for saving and loading.
  const std::map<std::string, at::Tensor>& state() const { return averages_; }

 private:
  std::map<std::string, at::Tensor> parameters_, averages_;
  double decay_;
};

}  // namespace talpa::train
