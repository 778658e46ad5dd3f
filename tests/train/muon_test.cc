// B matrices of a stack, M rows, N columns.
#include "talpa/train/muon.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "scratch.h"

namespace talpa::train {
namespace {

constexpr double kLow = 0.68, kHigh = 1.21;

OptimizerConfig muon_config() {
  OptimizerConfig config;
  config.kind = OptimizerKind::kMuon;
  return config;
}

at::Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  torch::manual_seed(seed);
  return torch::randn(shape);
}

/// The scalar polynomial of the iteration, `steps` times.
double iterated(double x, int steps) {
  for (int i = 0; i < steps; ++i)
    x = 3.4445 * x - 4.7750 * std::pow(x, 3) + 2.0315 * std::pow(x, 5);
  return x;
}

/// The iteration by a full SVD in fp64: an odd polynomial acts on singular values alone.
at::Tensor plain_orthogonalise(const at::Tensor& matrix_MN, int steps) {
  const at::Tensor wide = matrix_MN.to(torch::kDouble);
  auto [u, s, vt] = at::linalg_svd(wide / wide.norm(), /*full_matrices=*/false);
  for (std::int64_t i = 0; i < s.numel(); ++i) s[i] = iterated(s[i].item<double>(), steps);
  return u.matmul(s.diag()).matmul(vt);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(torch::kDouble) - b.to(torch::kDouble)).abs().max().item<double>();
}

TEST(Muon, OrthogonaliseIsThePolynomialOfSingularValues) {
  for (const auto& [rows, columns] : {std::pair{24, 24}, {12, 40}, {40, 12}, {1, 7}})
    for (const int steps : {1, 5, 8}) {
      const at::Tensor stack_BMN = random({3, rows, columns}, 5) * 0.01;
      const at::Tensor result_BMN = orthogonalise(stack_BMN, steps);
      ASSERT_EQ(result_BMN.sizes(), stack_BMN.sizes());
      for (int b = 0; b < 3; ++b)
        EXPECT_LT(largest_difference(result_BMN[b], plain_orthogonalise(stack_BMN[b], steps)), 2e-4)
            << rows << " x " << columns << ", " << steps << " steps";
    }
}

TEST(Muon, SingularValuesLieInTheBand) {
  // From 1 down to 1/100: of Frobenius norm one, the least is still above 0.002.
  const at::Tensor u = std::get<0>(at::linalg_qr(random({32, 32}, 1)));
  const at::Tensor v = std::get<0>(at::linalg_qr(random({64, 32}, 2)));
  const at::Tensor s = torch::logspace(0, -2, 32);
  const at::Tensor matrix_MN = u.matmul(s.diag()).matmul(v.t());
  ASSERT_GT((s.min() / s.norm()).item<double>(), 0.002);
  for (const at::Tensor& one : {matrix_MN, matrix_MN.t()}) {
    const at::Tensor values = at::linalg_svdvals(orthogonalise(one.unsqueeze(0), 5)[0]);
    EXPECT_GT(values.min().item<double>(), kLow);
    EXPECT_LT(values.max().item<double>(), kHigh);
  }
}

TEST(Muon, MatrixOfZerosStaysBesideOthers) {
  at::Tensor stack_BMN = random({2, 8, 4}, 3);
  stack_BMN[0].zero_();
  const at::Tensor result_BMN = orthogonalise(stack_BMN, 5);
  EXPECT_EQ(result_BMN[0].abs().max().item<double>(), 0);
  EXPECT_GT(at::linalg_svdvals(result_BMN[1]).min().item<double>(), kLow);
}

TEST(Muon, EqualsAPlainReference) {
  const OptimizerConfig config = muon_config();
  at::Tensor stack_BMN = random({3, 6, 10}, 1).set_requires_grad(true);
  at::Tensor tall_MN = random({12, 5}, 2).set_requires_grad(true);
  std::map<std::string, at::Tensor> parameters{{"layers.0.moe.gate", stack_BMN},
                                               {"layers.0.attn.o", tall_MN}};
  Muon optimizer(parameters, config);
  // Every matrix on its own, in fp64.
  std::vector<at::Tensor> matrices, momenta;
  for (int b = 0; b < 3; ++b) matrices.push_back(stack_BMN.detach()[b].to(torch::kDouble));
  matrices.push_back(tall_MN.detach().to(torch::kDouble));
  for (const auto& matrix : matrices) momenta.push_back(torch::zeros_like(matrix));
  for (int step = 0; step < 6; ++step) {
    const double rate = 0.02 / (1 + step);
    stack_BMN.mutable_grad() = random({3, 6, 10}, 100 + step);
    tall_MN.mutable_grad() = random({12, 5}, 200 + step);
    for (int i = 0; i < 4; ++i) {
      const at::Tensor gradient = (i < 3 ? stack_BMN.grad()[i] : tall_MN.grad()).to(torch::kDouble);
      momenta[i] = 0.95 * momenta[i] + gradient;
      const at::Tensor update = plain_orthogonalise(gradient + 0.95 * momenta[i], 5);
      const double scale = 0.2 * std::sqrt(i < 3 ? 10.0 : 12.0);
      matrices[i] = matrices[i] - rate * (scale * update + 0.1 * matrices[i]);
    }
    optimizer.step(rate);
  }
  for (int b = 0; b < 3; ++b) EXPECT_LT(largest_difference(stack_BMN[b], matrices[b]), 1e-4) << b;
  EXPECT_LT(largest_difference(tall_MN, matrices[3]), 1e-4);
  EXPECT_EQ(optimizer.num_steps(), 6);
}

TEST(Muon, UpdateHasTheRootMeanSquareOfItsSetting) {
  OptimizerConfig config = muon_config();
  config.weight_decay = 0;
  for (const auto& [rows, columns] : {std::pair{64, 128}, {128, 64}, {96, 96}}) {
    at::Tensor weight = torch::zeros({rows, columns}).set_requires_grad(true);
    Muon optimizer({{"layers.0.attn.q", weight}}, config);
    weight.mutable_grad() = random({rows, columns}, 7);
    optimizer.step(1);
    const double rms = weight.detach().square().mean().sqrt().item<double>();
    EXPECT_GT(rms, 0.2 * kLow) << rows << " x " << columns;
    EXPECT_LT(rms, 0.2 * kHigh) << rows << " x " << columns;
  }
}

TEST(Muon, LeavesTheRestToAdamW) {
  const char* matrices[] = {"layers.0.attn.q", "layers.1.ffn.down", "layers.0.moe.gate",
                            "layers.0.moe.gate_in", "layers.0.moe.down_basis"};
  const char* rest[] = {"embed",
                        "head",
                        "layers.0.moe.router",
                        "layers.0.shared.router",
                        "layers.0.moe.gate_mix",
                        "layers.0.moe.gate_pivot"};
  const at::Tensor matrix = torch::zeros({2, 3}), vector = torch::zeros({3});
  for (const char* name : matrices) EXPECT_TRUE(is_muon_matrix(name, matrix)) << name;
  for (const char* name : rest) EXPECT_FALSE(is_muon_matrix(name, matrix)) << name;
  EXPECT_FALSE(is_muon_matrix("layers.0.attn_norm", vector));

  at::Tensor embed = random({6, 4}, 1).set_requires_grad(true);
  at::Tensor query = random({4, 4}, 2).set_requires_grad(true);
  at::Tensor twin = embed.detach().clone().set_requires_grad(true);
  Muon muon({{"embed", embed}, {"layers.0.attn.q", query}}, muon_config());
  AdamW adamw({{"embed", twin}}, AdamWConfig{});
  for (int step = 0; step < 3; ++step) {
    embed.mutable_grad() = twin.mutable_grad() = random({6, 4}, 10 + step);
    query.mutable_grad() = random({4, 4}, 20 + step);
    muon.step(0.01);
    adamw.step(0.01);
  }
  EXPECT_TRUE(embed.equal(twin));
  const auto state = muon.state();
  EXPECT_EQ(state.size(), 3u);
  for (const char* name : {"embed/mean", "embed/square", "layers.0.attn.q/momentum"})
    EXPECT_TRUE(state.contains(name)) << name;
}

TEST(Muon, SettingsAreChecked) {
  auto with = [](const char* text) {
    return config_from<OptimizerConfig>(parse_toml(text, "test"), "optimizer");
  };
  const OptimizerConfig config = with("kind = \"muon\"\nweight_decay = 0.2\nmuon.momentum = 0.9");
  EXPECT_EQ(config.kind, OptimizerKind::kMuon);
  EXPECT_EQ(config.weight_decay, 0.2);
  EXPECT_EQ(config.muon.momentum, 0.9);
  EXPECT_EQ(config_from<OptimizerConfig>(config_to_json(config)), config);
  EXPECT_TALPA_ERROR(with("muon.momentum = 1.0"), kConfig, "optimizer.muon.momentum = 1 is not in");
  EXPECT_TALPA_ERROR(with("muon.newton_schulz_steps = 0"), kConfig, "newton_schulz_steps = 0");
  EXPECT_TALPA_ERROR(with("muon.update_rms = 0.0"), kConfig, "optimizer.muon.update_rms");
  EXPECT_TALPA_ERROR(with("beta2 = 1.0"), kConfig, "optimizer.beta2");
  EXPECT_TALPA_ERROR(with("kind = \"mun\""), kConfig, "one of adamw, muon");
  EXPECT_TALPA_ERROR(make_optimizer({{"embed", torch::zeros({2, 2})}}, muon_config()), kConfig,
                     "no matrices inside layers");
}

}  // namespace
}  // namespace talpa::train
