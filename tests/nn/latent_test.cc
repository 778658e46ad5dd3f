// Exactness of latent experts: every equality holds to 1e-12 in fp64.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/decoders.h"
#include "talpa/nn/moe/latent_experts.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {
namespace {

using talpa::testing::NamedConfig;
using talpa::testing::random_decoder;
using talpa::testing::tiny_moe;

constexpr double kTolerance = 1e-12;

at::Tensor logits_of(const Decoder& decoder) {
  const torch::NoGradGuard no_grad;
  return decoder.forward(testing::random_tokens(decoder.config(), 3, 9, 7)).logits_BTV;
}

void expect_same(const Decoder& a, const Decoder& b) {
  EXPECT_LT((logits_of(a) - logits_of(b)).abs().max().item<double>(), kTolerance);
}

void expect_different(const Decoder& a, const Decoder& b) {
  EXPECT_GT((logits_of(a) - logits_of(b)).abs().max().item<double>(), 1e-3);
}

// All of `source` that `target` has too, shapes equal.
void copy_common(const Decoder& source, Decoder& target) {
  for (auto& [name, tensor] : target.parameters()) {
    const auto found = source.parameters().find(name);
    if (found != source.parameters().end() && found->second.sizes() == tensor.sizes())
      tensor.copy_(found->second);
  }
}

std::string moe(int layer, const std::string& name) {
  return "layers." + std::to_string(layer) + ".moe." + name;
}

Decoder latent_decoder(const LatentConfig& latent, std::uint64_t seed = 1) {
  DecoderConfig config = tiny_moe();
  config.family = Family::kTalpa;
  config.moe.latent = latent;
  return random_decoder(config, seed);
}

// U_j V_j (of down V_j U_j) summed over the rank, U's rows looked up one by one.
at::Tensor low_rank_by_hand(const Decoder& decoder, int layer, const std::string& stem,
                            const std::string& latent) {
  const auto& p = decoder.parameters();
  const bool down = latent == "down";
  const at::Tensor pivot = p.at(moe(layer, latent + "_pivot"));
  const at::Tensor stored = p.at(moe(layer, latent + "_basis"));
  const at::Tensor basis = down ? stored.transpose(1, 2) : stored;
  const at::Tensor right = down ? p.at(moe(layer, stem)).transpose(1, 2) : p.at(moe(layer, stem));
  const auto [num_groups, r] = std::pair(pivot.size(0), pivot.size(1));
  at::Tensor bases = at::zeros({num_groups, r, right.size(2)}, at::kDouble);
  for (int g = 0; g < num_groups; ++g)
    for (int i = 0, pivots = 0, others = 0; i < r; ++i)
      if (pivot[g][i].item<double>() == 1)
        bases[g][i] = right[g][pivots++];
      else
        bases[g][i] = basis[g][others++].matmul(right[g]);
  return down ? bases.transpose(1, 2) : bases;
}

// f(sum_j mix_ij B_j), or B of i's group.
at::Tensor projection_by_hand(const Decoder& decoder, int layer, const std::string& stem,
                              const std::string& latent, int expert) {
  const auto& p = decoder.parameters();
  const LatentConfig& config = decoder.config().moe.latent;
  const at::Tensor bases = config.basis_rank > 0 ? low_rank_by_hand(decoder, layer, stem, latent)
                                                 : p.at(moe(layer, stem));
  if (!config.mixed) return bases[expert / decoder.config().group_size()];
  at::Tensor sum = at::zeros_like(bases[0]);
  for (int j = 0; j < bases.size(0); ++j)
    sum += p.at(moe(layer, latent + "_mix"))[expert][j] * bases[j];
  if (config.basis_activation == BasisActivation::kSilu) return sum * sum.sigmoid();
  return config.basis_activation == BasisActivation::kTanh ? sum.tanh() : sum;
}

// The dense expert that latent expert `expert` stands for.
at::Tensor matrix_by_hand(const Decoder& decoder, int layer, const std::string& name, int expert) {
  const LatentConfig& config = decoder.config().moe.latent;
  const at::Tensor own = decoder.parameters().at(moe(layer, name))[expert];
  if (name == "down")
    return !config.factor_down
               ? own
               : projection_by_hand(decoder, layer, "down_out", "down", expert).mm(own);
  if (!(name == "gate" ? config.factor_gate : config.factor_up)) return own;
  const std::string latent = config.share_gate_up_latent ? "gate_up" : name;
  return own.mm(projection_by_hand(decoder, layer, latent + "_in", latent, expert));
}

Decoder dense_by_hand(const Decoder& latent) {
  DecoderConfig config = latent.config();
  config.moe.latent = {};
  Decoder dense = random_decoder(config, 99);
  copy_common(latent, dense);
  for (int layer = 0; layer < config.num_layers; ++layer)
    for (const std::string name : {"gate", "up", "down"})
      for (int e = 0; e < config.moe.num_experts; ++e)
        dense.parameters().at(moe(layer, name))[e].copy_(matrix_by_hand(latent, layer, name, e));
  return dense;
}

class Latent : public ::testing::TestWithParam<NamedConfig> {};

TEST_P(Latent, EqualTheMoeOfTheirProducts) {
  const Decoder latent = random_decoder(GetParam().config, 1);
  const Decoder dense = dense_by_hand(latent);
  expect_same(latent, dense);
  Decoder changed = random_decoder(dense.config(), 99);
  copy_common(dense, changed);
  changed.parameters().at(moe(0, "gate"))[0].mul_(1.5);
  expect_different(latent, changed);
}

TEST_P(Latent, MaterializeIntoTheMoeOfTheirProducts) {
  const Decoder latent = random_decoder(GetParam().config, 1);
  Decoder dense = dense_by_hand(latent);
  for (int layer = 0; layer < latent.config().num_layers; ++layer) {
    const Scope scope(latent.parameters(), moe(layer, ""));
    const MaterializedExperts experts = materialize(scope, latent.config().moe.latent);
    const std::pair<const char*, at::Tensor> matrices[] = {
        {"gate", experts.gate_NMD}, {"up", experts.up_NMD}, {"down", experts.down_NDM}};
    for (const auto& [name, actual] : matrices) {
      const at::Tensor difference = actual - dense.parameters().at(moe(layer, name));
      EXPECT_LT(difference.abs().max().item<double>(), kTolerance) << name;
    }
  }
}

TEST_P(Latent, OrderOfGroupsIsFree) {
  const Decoder latent = random_decoder(GetParam().config, 1);
  const int size = latent.config().group_size(), groups = latent.config().num_groups();
  Decoder reversed = random_decoder(latent.config(), 1);
  const at::Tensor group_G = at::arange(groups - 1, -1, -1);
  const at::Tensor expert_N =
      (group_G.unsqueeze(1) * size + at::arange(size).unsqueeze(0)).flatten();
  for (auto& [name, tensor] : reversed.parameters()) {
    if (name.find(".moe.") == std::string::npos) continue;
    const bool by_group = name.ends_with("_in") || name.ends_with("_out") ||
                          name.ends_with("_basis") || name.ends_with("_pivot");
    at::Tensor moved = tensor.index_select(0, by_group ? group_G : expert_N);
    if (name.ends_with("_mix")) moved = moved.index_select(1, group_G);
    tensor.copy_(moved);
  }
  expect_same(latent, reversed);
}

INSTANTIATE_TEST_SUITE_P(Settings, Latent, ::testing::ValuesIn(testing::latent_configs()),
                         [](const auto& info) { return info.param.name; });

// r = n and identities as projections reproduce any MoE.
TEST(LatentExact, FullWidthReproducesTheMoe) {
  const Decoder dense = random_decoder(tiny_moe(), 3);
  const int n = dense.config().dim;
  for (const int group_size : {1, 2, 4}) {
    for (const bool shared : {false, true}) {
      Decoder latent = latent_decoder({.latent_dim = n,
                                       .group_size = group_size,
                                       .factor_down = true,
                                       .share_gate_up_latent = shared});
      copy_common(dense, latent);
      for (auto& [name, tensor] : latent.parameters())
        if (name.ends_with("_in") || name.ends_with("_out"))
          tensor.copy_(at::eye(n, at::kDouble).expand_as(tensor));
      expect_same(dense, latent);
    }
  }
}

// B -> T B and A -> A T^-1; C -> C T and D -> T^-1 D.
TEST(LatentExact, GaugeIsFree) {
  const Decoder latent = latent_decoder({.latent_dim = 5, .group_size = 2, .factor_down = true});
  Decoder turned = latent_decoder({.latent_dim = 5, .group_size = 2, .factor_down = true});
  torch::manual_seed(4);
  const at::Tensor gauge_G = at::eye(5, at::kDouble) + 0.3 * at::randn({2, 5, 5}, at::kDouble);
  const at::Tensor inverse_G = at::linalg_inv(gauge_G);
  const auto of_experts = [](const at::Tensor& x) { return x.repeat_interleave(2, 0); };
  for (int layer = 0; layer < 2; ++layer) {
    const auto set = [&](const std::string& name, auto change) {
      at::Tensor& tensor = turned.parameters().at(moe(layer, name));
      tensor.copy_(change(tensor.clone()));
    };
    for (const std::string name : {"gate", "up"}) {
      set(name + "_in", [&](at::Tensor b) { return gauge_G.bmm(b); });
      set(name, [&](at::Tensor a) { return a.bmm(of_experts(inverse_G)); });
    }
    set("down_out", [&](at::Tensor c) { return c.bmm(gauge_G); });
    set("down", [&](at::Tensor d) { return of_experts(inverse_G).bmm(d); });
  }
  expect_same(latent, turned);
}

// Mixes at their own group, no nonlinearity: plain groups.
TEST(LatentExact, IdentityMixIsGroups) {
  for (const bool shared : {false, true}) {
    LatentConfig options{
        .latent_dim = 5, .group_size = 2, .factor_down = true, .share_gate_up_latent = shared};
    const Decoder groups = latent_decoder(options);
    options.mixed = true;
    Decoder mixed = latent_decoder(options, 2);
    copy_common(groups, mixed);
    for (auto& [name, tensor] : mixed.parameters())
      if (name.ends_with("_mix")) tensor.copy_(at::one_hot(at::tensor({0, 0, 1, 1}, at::kLong), 2));
    expect_same(groups, mixed);
  }
}

// y = W_up( sum over top experts of p_i FC2_i(silu(G_i z) * U_i z) ), z = W_down x, the router
// on the full x, combined before W_up (LatentMoE, section 3).
TEST(LatentExact, LatentMoeEqualsItsDefinition) {
  const Decoder decoder =
      latent_decoder({.latent_dim = 5, .factor_down = true, .share_gate_up_latent = true});
  const Scope layer(decoder.parameters(), "layers.0.");
  const Scope moe = layer.in("moe");
  torch::manual_seed(5);
  const at::Tensor x_TD = at::randn({11, decoder.config().dim}, at::kDouble);
  const at::Tensor y_TD = moe_layer(x_TD, layer, decoder.config().moe).y_TD;
  for (int t = 0; t < x_TD.size(0); ++t) {
    const at::Tensor z = moe.at("gate_up_in")[0].mv(x_TD[t]);
    const at::Tensor p = moe.at("router").mv(x_TD[t]).softmax(0);
    const auto [p_K, expert_K] = p.topk(decoder.config().moe.top_k);
    at::Tensor combined = at::zeros({5}, at::kDouble);
    for (int j = 0; j < expert_K.size(0); ++j) {
      const auto e = expert_K[j].item<std::int64_t>();
      const at::Tensor hidden = at::silu(moe.at("gate")[e].mv(z)) * moe.at("up")[e].mv(z);
      combined += p_K[j] / p_K.sum() * moe.at("down")[e].mv(hidden);
    }
    const at::Tensor expected = moe.at("down_out")[0].mv(combined);
    EXPECT_LT((y_TD[t] - expected).abs().max().item<double>(), kTolerance) << "row " << t;
  }
}

}  // namespace
}  // namespace talpa::nn
