// G bases, R latent width, D model width, K rank of a basis, X = R - K.
#include "talpa/convert/gauge.h"

#include <torch/torch.h>

#include <limits>

namespace talpa::convert {

namespace {

at::Tensor rows_at(const at::Tensor& x_GRK, const at::Tensor& index_GY) {
  return x_GRK.gather(1, index_GY.unsqueeze(2).expand({-1, -1, x_GRK.size(2)}));
}

/// Places of ones (or, `value` 0, of zeros) of each row, ascending.
at::Tensor places(const at::Tensor& pivot_GR, double value, std::int64_t count) {
  const at::Tensor is = pivot_GR.eq(value);
  return is.to(torch::kLong).argsort(/*stable=*/true, 1, /*descending=*/true).narrow(1, 0, count);
}

}  // namespace

at::Tensor pivot_rows(const at::Tensor& left_GRK) {
  // Gram-Schmidt with the rows' remaining parts, every basis at once.
  at::Tensor rest_GRK = left_GRK.to(torch::kDouble).clone();
  const std::int64_t rank = rest_GRK.size(2);
  at::Tensor taken_GR = torch::zeros({rest_GRK.size(0), rest_GRK.size(1)}, rest_GRK.options());
  std::vector<at::Tensor> pivots;
  for (std::int64_t k = 0; k < rank; ++k) {
    const at::Tensor size_GR = rest_GRK.square().sum(2);
    // A row is taken once, also where nothing remains of any.
    const at::Tensor best_G1 = (size_GR - taken_GR).argmax(1, true);
    taken_GR.scatter_(1, best_G1, std::numeric_limits<double>::infinity());
    const at::Tensor row_G1K = rows_at(rest_GRK, best_G1);
    const at::Tensor unit_G1K = row_G1K / row_G1K.norm(2, 2, true).clamp_min(1e-300);
    rest_GRK -= rest_GRK.matmul(unit_G1K.transpose(1, 2)) * unit_G1K;
    pivots.push_back(best_G1);
  }
  return torch::cat(pivots, 1);
}

GaugeFixed fix_gauge(const at::Tensor& left_GRK, const at::Tensor& right_GKD) {
  const at::Tensor left = left_GRK.cpu().to(torch::kDouble);
  const at::Tensor right = right_GKD.cpu().to(torch::kDouble);
  const std::int64_t width = left.size(1), rank = left.size(2);
  const at::Tensor pivot_GR =
      torch::zeros({left.size(0), width}, left.options()).scatter_(1, pivot_rows(left), 1);
  const at::Tensor pivots_GKK = rows_at(left, places(pivot_GR, 1, rank));
  const at::Tensor others_GXK = rows_at(left, places(pivot_GR, 0, width - rank));
  // U_b U_a^-1 as the least-squares solution, which exists for rank-deficient U_a as well.
  const at::Tensor basis_GXK =
      std::get<0>(torch::linalg_lstsq(pivots_GKK.transpose(1, 2).contiguous(),
                                      others_GXK.transpose(1, 2).contiguous(), std::nullopt,
                                      "gelsd"))
          .transpose(1, 2);
  const auto options = left_GRK.options();
  return {basis_GXK.to(options).contiguous(), pivot_GR.to(options),
          pivots_GKK.matmul(right).to(options)};
}

at::Tensor left_of(const GaugeFixed& gauge) {
  const std::int64_t rank = gauge.basis_GXK.size(2);
  const std::int64_t width = gauge.pivot_GR.size(1);
  at::Tensor left_GRK =
      torch::zeros({gauge.basis_GXK.size(0), width, rank}, gauge.basis_GXK.options());
  const at::Tensor identity_GKK =
      torch::eye(rank, left_GRK.options()).expand({left_GRK.size(0), -1, -1});
  auto spread = [&](const at::Tensor& index_GY) {
    return index_GY.unsqueeze(2).expand({-1, -1, rank});
  };
  left_GRK.scatter_(1, spread(places(gauge.pivot_GR, 1, rank)), identity_GKK);
  left_GRK.scatter_(1, spread(places(gauge.pivot_GR, 0, width - rank)), gauge.basis_GXK);
  return left_GRK;
}

}  // namespace talpa::convert
