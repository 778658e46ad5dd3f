#pragma once

#include "talpa/base/config.h"

namespace talpa::train {

/// How several processes divide a run. One process ignores it.
struct DistributionConfig {
  int expert_parallel = 1;
  bool shard_optimizer = false;

  static constexpr auto fields() {
    using C = DistributionConfig;
    return std::tuple{
        field("expert_parallel", &C::expert_parallel,
              "processes that share the experts of every layer; divides their number"),
        field("shard_optimizer", &C::shard_optimizer,
              "each process keeps and steps a part of the optimiser's state (ZeRO-1)")};
  }
  void validate(const std::string& path) const {
    if (expert_parallel < 1)
      fail(ErrorCode::kConfig, "{}.expert_parallel = {} is below 1", path, expert_parallel);
  }
  bool operator==(const DistributionConfig&) const = default;
};

}  // namespace talpa::train
