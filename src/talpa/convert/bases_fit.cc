#include "talpa/convert/bases_fit.h"

#include <fmt/ranges.h>
#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "talpa/base/error.h"
#include "talpa/base/log.h"

namespace talpa::convert {

namespace {

/// Steps between looks at the loss.
constexpr int kLook = 10;
constexpr double kBeta1 = 0.9;
constexpr double kEpsilon = 1e-8;
constexpr double kTail = 0.3;
constexpr double kLeastRate = 1e-4;
/// A fit has diverged when its loss is this much above the best one and above that of zeros.
constexpr double kDiverged = 2;
constexpr double kProgress = 1e-4;
constexpr double kNoLoss = 1e300;

bool is_basis(const std::string& name) {
  return name == "whole" || name == "left" || name == "right";
}

}  // namespace

BasesFit::BasesFit(const BasesObjective& objective, std::function<MixedBases()> start,
                   const BasesFitSettings& settings)
    : objective_(objective),
      start_(std::move(start)),
      settings_(settings),
      basis_rate_(settings.basis_rate) {
  begin();
}

std::map<std::string, at::Tensor> BasesFit::fitted(const MixedBases& bases) const {
  auto tensors = bases.tensors();
  if (solves_own()) tensors.erase("own");
  return tensors;
}

void BasesFit::begin() {
  now_ = best_ = MixedBases();  // making the start takes memory of its own
  means_.clear();
  squares_.clear();
  now_ = start_();
  best_ = now_;
  if (solves_own()) best_.own_NMR = at::Tensor();
  best_ = best_.clone();
  if (solves_own()) best_.own_NMR = now_.own_NMR;
  step_ = waited_since_ = 0;
  ended_ = false;
  best_loss_ = waited_loss_ = first_loss_ = kNoLoss;
  for (const auto& [name, tensor] : fitted(now_)) {
    means_[name] = torch::zeros_like(tensor);
    squares_[name] = torch::zeros_like(tensor);
  }
}

double BasesFit::done() const {
  return ended_ ? 1 : static_cast<double>(step_) / std::max(settings_.steps, 1);
}

double BasesFit::rate() const {
  const double share = static_cast<double>(step_) / settings_.steps, top = settings_.learning_rate;
  if (settings_.schedule == FitSchedule::kCosine)
    return kLeastRate + (top - kLeastRate) * 0.5 * (1 + std::cos(std::numbers::pi * share));
  if (settings_.schedule == FitSchedule::kTail) return top * std::min(1.0, (1 - share) / kTail);
  return top;
}

bool BasesFit::advance() {
  const torch::NoGradGuard no_grad;
  if (ended_) return false;
  do take_step();
  while (!ended_ && step_ % kLook != 0);
  if (ended_ && solves_own()) objective_.solve_own(best_, settings_.exact_ridge, settings_.noise);
  return !ended_;
}

void BasesFit::take_step() {
  const bool last = step_ >= settings_.steps, looking = step_ % kLook == 0 || last;
  auto gradients = solves_own() ? objective_.gradients_with_exact_own(now_, settings_.exact_ridge,
                                                                      settings_.noise, looking)
                                : objective_.gradients(now_, looking);
  auto restart_without = [&] {
    gradients = {};
    restart();
  };
  if (looking) {
    const double loss = gradients.loss.item<double>();
    if (has_diverged(loss)) return restart_without();
    look(loss);
  }
  // Bases may also have gone where the nonlinearity is flat, and stay there.
  const bool in_vain = (last || ended_) && step_ > 0 && best_loss_ >= first_loss_;
  if (in_vain && restarts_ < settings_.max_restarts) return restart_without();
  if (last) ended_ = true;
  if (ended_) return;
  update(gradients.of);
  ++step_;
}

bool BasesFit::has_diverged(double loss) const {
  return !std::isfinite(loss) || (step_ > 0 && loss > kDiverged && loss > kDiverged * best_loss_);
}

void BasesFit::restart() {
  if (restarts_ == settings_.max_restarts)
    fail(ErrorCode::kInternal, "the fit diverged {} times; use a lower learning rate",
         restarts_ + 1);
  log::warn("a fit was lost by step {}; again with half the rate for bases", step_);
  ++restarts_;
  basis_rate_ /= 2;
  begin();
}

/// `loss` is that of now_, before this step's update.
void BasesFit::look(double loss) {
  if (step_ == 0) first_loss_ = loss;
  if (loss < best_loss_) {
    best_loss_ = loss;
    best_.assign(now_);
  }
  if (loss < waited_loss_ * (1 - kProgress)) {
    waited_loss_ = loss;
    waited_since_ = step_;
  }
  if (step_ - waited_since_ >= settings_.patience) ended_ = true;
}

void BasesFit::update(const std::map<std::string, at::Tensor>& gradients) {
  const auto parameters = now_.tensors();
  for (const bool bases : {false, true}) {
    std::vector<at::Tensor> values, slopes, means, squares, steps;
    for (const auto& [name, gradient] : gradients) {
      if (is_basis(name) != bases) continue;
      values.push_back(parameters.at(name));
      slopes.push_back(gradient);
      means.push_back(means_.at(name));
      squares.push_back(squares_.at(name));
      steps.push_back(torch::full({}, step_ + 1, gradient.options().dtype(torch::kFloat)));
    }
    at::_fused_adamw_(values, slopes, means, squares, {}, steps, rate() * (bases ? basis_rate_ : 1),
                      kBeta1, settings_.beta2, settings_.weight_decay, kEpsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  }
}

std::map<std::string, at::Tensor> BasesFit::state() const {
  std::map<std::string, at::Tensor> all;
  for (const auto& [name, tensor] : fitted(now_)) all["now." + name] = tensor;
  for (const auto& [name, tensor] : fitted(best_)) all["best." + name] = tensor;
  for (const auto& [name, tensor] : means_) all["mean." + name] = tensor;
  for (const auto& [name, tensor] : squares_) all["square." + name] = tensor;
  all["numbers"] = torch::tensor({static_cast<double>(step_), static_cast<double>(waited_since_),
                                  static_cast<double>(restarts_), ended_ ? 1.0 : 0.0, basis_rate_,
                                  best_loss_, first_loss_, waited_loss_},
                                 torch::kDouble);
  return all;
}

void BasesFit::restore(const std::map<std::string, at::Tensor>& state) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : this->state()) {
    const auto found = state.find(name);
    if (found == state.end() || found->second.sizes() != tensor.sizes())
      fail(ErrorCode::kFormat, "a stored fit has no {} of shape {}", name,
           fmt::join(tensor.sizes(), " x "));
    tensor.copy_(found->second);
  }
  const at::Tensor numbers = state.at("numbers").to(torch::kDouble).contiguous();
  const double* number = numbers.const_data_ptr<double>();
  step_ = static_cast<int>(number[0]);
  waited_since_ = static_cast<int>(number[1]);
  restarts_ = static_cast<int>(number[2]);
  ended_ = number[3] != 0;
  basis_rate_ = number[4];
  best_loss_ = number[5];
  first_loss_ = number[6];
  waited_loss_ = number[7];
}

}  // namespace talpa::convert
