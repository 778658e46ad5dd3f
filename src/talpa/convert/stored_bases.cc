// N experts, G bases, M expert width, R latent width, D model width, K rank of a basis, X = R - K,
// Y rows that are stored of a basis.
#include "talpa/convert/stored_bases.h"

#include <torch/torch.h>

#include "talpa/convert/gauge.h"

namespace talpa::convert {

namespace {

at::Tensor as_stored(const at::Tensor& values, DType dtype) {
  if (dtype == DType::kBF16) return values.to(torch::kBFloat16).to(torch::kFloat);
  if (dtype == DType::kF16) return values.to(torch::kHalf).to(torch::kFloat);
  return values.to(torch::kFloat);
}

/// tr(C E H E^T) in fp64, what is undefined being the identity.
double weighted_cost(const at::Tensor& error_MD, const at::Tensor& over_rows,
                     const at::Tensor& over_columns_DD) {
  at::Tensor pull_MD = error_MD;
  if (over_columns_DD.defined()) pull_MD = pull_MD.matmul(over_columns_DD.to(torch::kDouble));
  if (over_rows.defined()) {
    const at::Tensor rows = over_rows.to(torch::kDouble);
    pull_MD = rows.dim() == 1 ? rows.unsqueeze(1) * pull_MD : rows.matmul(pull_MD);
  }
  return (error_MD * pull_MD).sum().item<double>();
}

at::Tensor of_expert(const at::Tensor& stack, std::int64_t expert) {
  if (!stack.defined()) return {};
  return stack[stack.size(0) == 1 ? 0 : expert];
}

}  // namespace

at::Tensor StoredBases::bases_GRD() const {
  if (!basis_GXK.defined()) return bases_GYD;
  return at::bmm(left_of({basis_GXK, pivot_GR, bases_GYD}), bases_GYD);
}

std::map<std::string, at::Tensor> StoredBases::named(Side side) const {
  const bool down = side == Side::kDown;
  const std::string name = enum_name(side);
  auto oriented = [&](const at::Tensor& x) { return down ? x.transpose(1, 2).contiguous() : x; };
  std::map<std::string, at::Tensor> all = {{name, oriented(own_NMR)},
                                           {name + "_mix", mix_NG},
                                           {name + (down ? "_out" : "_in"), oriented(bases_GYD)}};
  if (!basis_GXK.defined()) return all;
  all[name + "_basis"] = oriented(basis_GXK);
  all[name + "_pivot"] = pivot_GR;
  return all;
}

StoredBases stored_bases(const MixedBases& fitted, double sigma, DType dtype) {
  const torch::NoGradGuard no_grad;
  StoredBases stored;
  stored.activation = fitted.activation;
  stored.own_NMR = (fitted.own_NMR.cpu() * sigma).to(torch::kFloat);
  stored.mix_NG = as_stored(fitted.mix_NG().cpu(), dtype);
  if (fitted.low_rank()) {
    const GaugeFixed gauge = fix_gauge(fitted.left_GRK.cpu(), fitted.right_GKD.cpu());
    stored.basis_GXK = as_stored(gauge.basis_GXK, dtype);
    stored.pivot_GR = gauge.pivot_GR.to(torch::kFloat);
    stored.bases_GYD = as_stored(gauge.right_GKD, dtype);
  } else {
    stored.bases_GYD = as_stored(fitted.whole_GRD.cpu(), dtype);
  }
  return stored;
}

int refit_own(StoredBases& bases, const BasesTarget& experts, const BasesMetric& metric) {
  const torch::NoGradGuard no_grad;
  const at::Tensor all_GRD = bases.bases_GRD();
  int replaced = 0;
  for (std::int64_t e = 0; e < experts.shape[0]; ++e) {
    const at::Tensor target_MD = experts.read_CMD(e, 1)[0].to(torch::kDouble);
    const at::Tensor formed_RD =
        formed_bases(bases.mix_NG.narrow(0, e, 1), all_GRD, bases.activation)[0].to(torch::kDouble);
    const at::Tensor columns_DD = of_expert(metric.over_columns, e);
    const at::Tensor rows = of_expert(metric.over_rows, e);
    // Compared as they will be read, in fp32.
    const at::Tensor own_MR = least_squares_own(target_MD, formed_RD, columns_DD).to(torch::kFloat);
    auto cost_of = [&](const at::Tensor& own) {
      return weighted_cost(own.to(torch::kDouble).matmul(formed_RD) - target_MD, rows, columns_DD);
    };
    if (!(cost_of(own_MR) < cost_of(bases.own_NMR[e]))) continue;
    bases.own_NMR[e].copy_(own_MR);
    ++replaced;
  }
  return replaced;
}

}  // namespace talpa::convert
