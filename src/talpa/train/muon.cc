// B matrices of a stack, M rows, N columns.
#include "talpa/train/muon.h"

#include <torch/torch.h>

#include <cmath>

namespace talpa::train {

namespace {

constexpr double kLinear = 3.4445, kCubic = -4.7750, kQuintic = 2.0315;
/// Keeps a gradient of zeros from becoming NaN.
constexpr double kLeastNorm = 1e-7;

std::map<std::string, at::Tensor> select(const std::map<std::string, at::Tensor>& parameters,
                                         bool matrices) {
  std::map<std::string, at::Tensor> chosen;
  for (const auto& [name, value] : parameters)
    if (is_muon_matrix(name, value) == matrices) chosen.emplace(name, value);
  return chosen;
}

}  // namespace

void MuonConfig::validate(const std::string& path) const {
  if (!(momentum >= 0 && momentum < 1))
    fail(ErrorCode::kConfig, "{}.momentum = {} is not in [0, 1)", path, momentum);
  if (newton_schulz_steps < 1 || newton_schulz_steps > 100)
    fail(ErrorCode::kConfig, "{}.newton_schulz_steps = {} is outside 1 to 100", path,
         newton_schulz_steps);
  if (!(update_rms > 0 && update_rms <= 100))
    fail(ErrorCode::kConfig, "{}.update_rms = {} is not in (0, 100]", path, update_rms);
}

bool is_muon_matrix(const std::string& name, const at::Tensor& value) {
  return name.starts_with("layers.") && value.dim() >= 2 && !name.ends_with(".router") &&
         !name.ends_with("_mix") && !name.ends_with("_pivot");
}

at::Tensor orthogonalise(const at::Tensor& matrices_BMN, int steps) {
  const bool tall = matrices_BMN.size(1) > matrices_BMN.size(2);
  // The products with X X^T are smallest when X is wide.
  at::Tensor x_BMN = tall ? matrices_BMN.transpose(1, 2) : matrices_BMN;
  x_BMN = x_BMN / (x_BMN.norm(2, {1, 2}, /*keepdim=*/true) + kLeastNorm);
  for (int step = 0; step < steps; ++step) {
    const at::Tensor gram_BMM = x_BMN.bmm(x_BMN.transpose(1, 2));
    const at::Tensor factor_BMM = gram_BMM.baddbmm(gram_BMM, gram_BMM, kCubic, kQuintic);
    x_BMN = x_BMN.baddbmm(factor_BMM, x_BMN, kLinear, 1);
  }
  return tall ? x_BMN.transpose(1, 2) : x_BMN;
}

Muon::Muon(std::map<std::string, at::Tensor> parameters, const OptimizerConfig& config)
    : Optimizer(std::move(parameters), config.clip_norm),
      config_(config.muon),
      weight_decay_(config.weight_decay),
      rest_(select(this->parameters(), false), config) {
  for (const auto& [name, value] : select(this->parameters(), true))
    matrices_.push_back({name, value, torch::zeros_like(value, torch::requires_grad(false))});
  if (matrices_.empty())
    fail(ErrorCode::kConfig, "the model has no matrices inside layers for Muon; use adamw");
}

void Muon::update(Matrix& matrix, double learning_rate) const {
  const at::Tensor& gradient = matrix.value.grad();
  if (!gradient.defined()) return;
  matrix.momentum.mul_(config_.momentum).add_(gradient);
  const at::Tensor nesterov = gradient.add(matrix.momentum, config_.momentum);
  const std::int64_t rows = nesterov.size(-2), columns = nesterov.size(-1);
  const at::Tensor direction =
      orthogonalise(nesterov.reshape({-1, rows, columns}), config_.newton_schulz_steps);
  const double scale = config_.update_rms * std::sqrt(static_cast<double>(std::max(rows, columns)));
  at::Tensor value = matrix.value.detach();
  value.mul_(1 - learning_rate * weight_decay_);
  value.sub_(direction.reshape(value.sizes()), learning_rate * scale);
}

void Muon::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  for (Matrix& matrix : matrices_) update(matrix, learning_rate);
  rest_.step(learning_rate);
}

std::map<std::string, at::Tensor> Muon::state() const {
  std::map<std::string, at::Tensor> tensors = rest_.state();
  for (const Matrix& matrix : matrices_) tensors[matrix.name + "/momentum"] = matrix.momentum;
  return tensors;
}

}  // namespace talpa::train
