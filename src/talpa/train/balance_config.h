#pragma once

#include "talpa/nn/moe/balance.h"

namespace talpa::train {

/// Who moves a model's selection bias after a step.
enum class BiasUpdate : std::uint8_t { kNone, kSign, kQuantile };

/// How the load of experts is kept even, beside the coefficient model.moe.balance_loss.
struct BalanceConfig {
  nn::BalanceScope scope = nn::BalanceScope::kMicroBatch;
  BiasUpdate bias = BiasUpdate::kNone;
  double bias_rate = 0;

  static constexpr auto fields() {
    using C = BalanceConfig;
    return std::tuple{
        field("scope", &C::scope,
              "rows that the balance loss counts: micro_batch, sequence, global_batch"),
        field("bias", &C::bias,
              "what moves the selection bias: none, sign of the load's error, quantile"),
        field("bias_rate", &C::bias_rate,
              "size of a step by sign, or share of a quantile's shift; 0 = 0.001 and 1")};
  }
  double rate() const { return bias_rate > 0 ? bias_rate : bias == BiasUpdate::kSign ? 1e-3 : 1; }
  void validate(const std::string& path) const {
    if (!(bias_rate >= 0 && bias_rate <= 1))
      fail(ErrorCode::kConfig, "{}.bias_rate = {} is not in [0, 1]", path, bias_rate);
  }
  bool operator==(const BalanceConfig&) const = default;
};

}  // namespace talpa::train

template <>
struct talpa::EnumNames<talpa::train::BiasUpdate> {
  using B = talpa::train::BiasUpdate;
  static constexpr std::pair<B, const char*> table[] = {
      {B::kNone, "none"}, {B::kSign, "sign"}, {B::kQuantile, "quantile"}};
};
