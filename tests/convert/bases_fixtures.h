// Experts on mixed bases for tests.
#pragma once

#include <torch/torch.h>

#include "fixtures.h"
#include "talpa/convert/bases_start.h"
#include "talpa/convert/mixed_bases.h"
#include "talpa/model/accounting.h"
#include "talpa/nn/moe/latent_experts.h"

namespace talpa::convert {

struct BasesSizes {
  std::int64_t experts = 6, bases = 3, hidden = 5, latent = 4, width = 7, rank = 0;
};

/// Normal numbers in every part; low-rank bases if s.rank is positive.
inline MixedBases random_bases(const BasesSizes& s, BasisActivation activation, int seed,
                               at::ScalarType type = torch::kDouble) {
  torch::manual_seed(seed);
  const auto options = torch::TensorOptions(type);
  MixedBases bases;
  bases.activation = activation;
  bases.own_NMR = torch::randn({s.experts, s.hidden, s.latent}, options);
  bases.logits_NG = torch::randn({s.experts, s.bases}, options);
  if (s.rank > 0) {
    bases.left_GRK = torch::randn({s.bases, s.latent, s.rank}, options);
    bases.right_GKD = torch::randn({s.bases, s.rank, s.width}, options);
  } else {
    bases.whole_GRD = torch::randn({s.bases, s.latent, s.width}, options);
  }
  return bases;
}

/// W_i, [N, M, D].
inline at::Tensor product_of(const MixedBases& bases) {
  return bases.own_NMR.bmm(formed_bases(bases.mix_NG(), bases.bases_GRD(), bases.activation));
}

/// Symmetric positive definite matrices [N, width, width].
inline at::Tensor random_definite(std::int64_t experts, std::int64_t width, int seed) {
  torch::manual_seed(seed);
  const at::Tensor x = torch::randn({experts, width, 2 * width}, torch::kDouble);
  return x.bmm(x.transpose(1, 2)) / static_cast<double>(width);
}

/// Dense experts [N, m, n] that a layer's fit stands for, down transposed.
inline at::Tensor dense_of(const LayerFit& fit, const LatentConfig& latent, Side side,
                           const LayerExperts& experts) {
  nn::Parameters parameters;
  for (const Side each : kSides) {
    const at::Tensor dense = experts.read(each);
    parameters[enum_name(each)] = each == Side::kDown ? dense.transpose(1, 2) : dense;
  }
  for (const auto& [name, tensor] : fit.tensors) parameters[name] = tensor;
  const nn::MaterializedExperts all = nn::materialize(nn::Scope(parameters), latent);
  if (side == Side::kGate) return all.gate_NMD;
  if (side == Side::kUp) return all.up_NMD;
  return all.down_NDM.transpose(1, 2);
}

/// Experts in all projections that one of `latent`'s form stands for exactly.
inline LayerExperts::Tensors representable_experts(const BasesSizes& s, BasisActivation activation,
                                                   int seed) {
  auto stack = [&](int offset) {
    return product_of(random_bases(s, activation, seed + offset, torch::kFloat));
  };
  return {stack(0), stack(1), stack(2), torch::randn({s.experts, s.width})};
}

/// Every tensor that the target has for a layer's experts comes with its shape, and counting
/// them gives the account's number.
inline void expect_complete(const LayerFit& fit, DecoderConfig target) {
  target.num_layers = 1;
  std::int64_t params = 0;
  std::map<std::string, Shape> expected;
  for (const WeightSpec& spec : weight_specs(target)) {
    const std::string prefix = "layers.0.moe.";
    if (!spec.name.starts_with(prefix) || spec.name.ends_with("router")) continue;
    const std::string name = spec.name.substr(prefix.size());
    expected[name] = spec.shape;
    params += num_elements(spec.shape);
  }
  for (const auto& [name, tensor] : fit.tensors) {
    ASSERT_TRUE(expected.contains(name)) << name;
    EXPECT_EQ(tensor.sizes().vec(), expected.at(name)) << name;
  }
  for (const auto& [name, shape] : expected) {
    const bool dense = name == "down" && !target.moe.latent.factor_down;
    EXPECT_TRUE(dense || fit.tensors.contains(name)) << name;
  }
  EXPECT_EQ(account_of(target).expert_params, params);
}

/// A fit that is stopped twice and goes on each time, in the end.
inline LayerFit interrupted_fit(const Method& method, const LayerExperts& experts,
                                const DecoderConfig& target, const ConvertOptions& options,
                                const std::filesystem::path& scratch) {
  for (const int allowed : {2, 7}) {
    FitContext context{.options = options, .scratch = scratch};
    int calls = 0;
    context.progress = [&](double, const std::string&) {
      if (++calls > allowed) throw std::runtime_error("stopped");
    };
    EXPECT_THROW(method.fit(experts, target, context), std::runtime_error);
  }
  return method.fit(experts, target, {.options = options, .scratch = scratch});
}

inline void expect_same(const LayerFit& a, const LayerFit& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors)
    EXPECT_TRUE(tensor.equal(b.tensors.at(name))) << name;
  ASSERT_EQ(a.projections.size(), b.projections.size());
  for (std::size_t p = 0; p < a.projections.size(); ++p) {
    EXPECT_EQ(a.projections[p].side, b.projections[p].side);
    EXPECT_EQ(a.projections[p].squared_error, b.projections[p].squared_error);
    EXPECT_EQ(a.projections[p].weighted_error, b.projections[p].weighted_error);
  }
}

}  // namespace talpa::convert
