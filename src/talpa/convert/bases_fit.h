#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "talpa/convert/bases_objective.h"
#include "talpa/convert/mixed_bases.h"

namespace talpa::convert {

/// How the learning rate falls.
enum class FitSchedule : std::uint8_t {
  kConstant,
  kCosine,  ///< to 1e-4
  kTail,    ///< constant, then to zero in a straight line over the last 30 %
};

struct BasesFitSettings {
  int steps = 1000;
  double learning_rate = 0.07;  ///< of A and the mix
  double basis_rate = 1;        ///< rho: rate of the bases, relative
  double beta2 = 0.999;
  double weight_decay = 0;
  FitSchedule schedule = FitSchedule::kConstant;
  /// Above 0: A is solved for at every step, with this ridge, and the optimiser moves bases and
  /// mix only.
  double exact_ridge = 0;
  /// With exact_ridge: the rounding_noise of what experts' own matrices will be held in.
  double noise = 0;
  int patience = 2000;   ///< steps without a loss 0.01 % lower after which a fit ends
  int max_restarts = 4;  ///< of a fit that diverged or found nothing, each with half the basis_rate
};

/// Fits experts on mixed bases by AdamW with gradients by hand. The best state is kept, looked
/// for every few steps. Same start, same settings, same number of threads: same result, also when
/// a fit is stored and goes on elsewhere.
class BasesFit {
 public:
  /// `start` gives tensors that nothing else holds, the same whenever it is called: at first and
  /// for every restart.
  BasesFit(const BasesObjective& objective, std::function<MixedBases()> start,
           const BasesFitSettings& settings);

  /// Takes the steps up to the next look at the loss; false when the fit has ended.
  /// Throws kInternal when it diverged too often.
  bool advance();

  /// With exact_ridge, its own matrices only once the fit has ended.
  const MixedBases& best() const { return best_; }
  double best_loss() const { return best_loss_; }
  double first_loss() const { return first_loss_; }
  int step() const { return step_; }
  int restarts() const { return restarts_; }
  double done() const;

  /// All that decides how it goes on.
  std::map<std::string, at::Tensor> state() const;
  /// Goes on from there. Throws kFormat unless shapes are those of this fit's start.
  void restore(const std::map<std::string, at::Tensor>& state);

 private:
  bool solves_own() const { return settings_.exact_ridge > 0; }
  /// What steps change: own matrices that are solved for are no state.
  std::map<std::string, at::Tensor> fitted(const MixedBases& bases) const;
  void begin();
  void take_step();
  bool has_diverged(double loss) const;
  void restart();
  void look(double loss);
  void update(const std::map<std::string, at::Tensor>& gradients);
  double rate() const;

  const BasesObjective& objective_;
  const std::function<MixedBases()> start_;
  const BasesFitSettings settings_;
  MixedBases now_, best_;
  std::map<std::string, at::Tensor> means_, squares_;
  double basis_rate_ = 1, best_loss_ = 0, first_loss_ = 0, waited_loss_ = 0;
  int step_ = 0, waited_since_ = 0, restarts_ = 0;
  bool ended_ = false;
};

}  // namespace talpa::convert
