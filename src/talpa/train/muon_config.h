#pragma once

#include "talpa/base/config.h"

namespace talpa::train {

struct MuonConfig {
  double momentum = 0.95;
  int newton_schulz_steps = 5;
  double update_rms = 0.2;

  static constexpr auto fields() {
    using C = MuonConfig;
    return std::tuple{
        field("momentum", &C::momentum, "decay of the gradient's sum (Nesterov)"),
        field("newton_schulz_steps", &C::newton_schulz_steps,
              "steps of the iteration that makes an update's singular values alike"),
        field("update_rms", &C::update_rms,
              "root mean square of an update's entries at learning rate 1; 0.2 is AdamW's")};
  }
  void validate(const std::string& path) const;
  bool operator==(const MuonConfig&) const = default;
};

}  // namespace talpa::train
