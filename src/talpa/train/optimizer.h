#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>

#include "talpa/train/adamw_config.h"
#include "talpa/train/muon_config.h"

namespace talpa::train {

class Replicas;

enum class OptimizerKind : std::uint8_t { kAdamW, kMuon };

/// AdamW's settings hold for both kinds: with Muon, for the parameters that AdamW keeps, and
/// learning rate, weight decay and clipping for all.
struct OptimizerConfig : AdamWConfig {
  OptimizerKind kind = OptimizerKind::kAdamW;
  MuonConfig muon;

  static constexpr auto fields() {
    using C = OptimizerConfig;
    return std::tuple_cat(
        std::tuple{field("kind", &C::kind, "adamw, or muon for the matrices inside layers")},
        AdamWConfig::fields(), std::tuple{field("muon", &C::muon, "Muon")});
  }
  void validate(const std::string& path) const;
  bool operator==(const OptimizerConfig&) const = default;
};

/// Changes named parameters by their gradients and keeps the state that this needs.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  void zero_grad();
  /// Clips gradients by their global norm, if the configuration asks for it, and returns the norm
  /// before clipping; with replicas, the norm over all shares.
  double clip(Replicas* replicas = nullptr);

  virtual void step(double learning_rate) = 0;
  /// State by name; the tensors themselves, for saving and loading.
  virtual std::map<std::string, at::Tensor> state() const = 0;
  virtual std::int64_t num_steps() const = 0;
  virtual void set_num_steps(std::int64_t steps) = 0;

 protected:
  Optimizer(std::map<std::string, at::Tensor> parameters, double clip_norm)
      : parameters_(std::move(parameters)), clip_norm_(clip_norm) {}
  const std::map<std::string, at::Tensor>& parameters() const { return parameters_; }

 private:
  std::map<std::string, at::Tensor> parameters_;
  double clip_norm_;
};

/// Throws kConfig if Muon has no matrix to train.
std::unique_ptr<Optimizer> make_optimizer(std::map<std::string, at::Tensor> parameters,
                                          const OptimizerConfig& config);

}  // namespace talpa::train

template <>
struct talpa::EnumNames<talpa::train::OptimizerKind> {
  static constexpr std::pair<talpa::train::OptimizerKind, const char*> table[] = {
      {talpa::train::OptimizerKind::kAdamW, "adamw"}, {talpa::train::OptimizerKind::kMuon, "muon"}};
};
