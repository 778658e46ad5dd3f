#include "talpa/nn/decoder.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <map>
#include <numeric>

#include "nn/decoders.h"
#include "scratch.h"
#include "talpa/nn/moe/latent_experts.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/moe/router.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {
namespace {

using talpa::testing::NamedConfig;
using talpa::testing::random_decoder;
using talpa::testing::random_tokens;
using talpa::testing::tiny_moe;

double greatest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

at::Tensor row_of(const std::vector<std::int64_t>& ids) { return at::tensor(ids).unsqueeze(0); }

class AnyDecoder : public ::testing::TestWithParam<NamedConfig> {
 protected:
  const torch::NoGradGuard no_grad_;
};

TEST_P(AnyDecoder, ParametersAreTheDescription) {
  const Decoder decoder(GetParam().config);
  const auto specs = weight_specs(GetParam().config);
  ASSERT_EQ(decoder.parameters().size(), specs.size());
  for (const WeightSpec& spec : specs)
    EXPECT_EQ(decoder.parameters().at(spec.name).sizes(), at::IntArrayRef(spec.shape));
}

TEST_P(AnyDecoder, SameSeedSameValuesSameBits) {
  Decoder a(GetParam().config), b(GetParam().config), c(GetParam().config);
  a.initialise(5), b.initialise(5), c.initialise(6);
  bool differs = false;
  for (const auto& [name, tensor] : a.parameters()) {
    EXPECT_TRUE(at::equal(tensor, b.parameters().at(name))) << name;
    differs |= !at::equal(tensor, c.parameters().at(name));
  }
  EXPECT_TRUE(differs);
  const at::Tensor tokens = random_tokens(GetParam().config, 2, 9, 1);
  EXPECT_TRUE(at::equal(a.forward(tokens).logits_BTV, b.forward(tokens).logits_BTV));
}

TEST_P(AnyDecoder, IsCausalAndKeepsSequencesApart) {
  const Decoder decoder = random_decoder(GetParam().config, 1);
  at::Tensor tokens = random_tokens(GetParam().config, 2, 9, 1);
  const at::Tensor before = decoder.forward(tokens).logits_BTV;
  tokens[0][5] = (tokens[0][5] + 1) % GetParam().config.vocab_size;
  const at::Tensor after = decoder.forward(tokens).logits_BTV;
  EXPECT_LT(greatest_difference(before[1], after[1]), 1e-12);
  EXPECT_LT(greatest_difference(before[0].slice(0, 0, 5), after[0].slice(0, 0, 5)), 1e-12);
  EXPECT_GT(greatest_difference(before[0].slice(0, 5), after[0].slice(0, 5)), 1e-3);
}

TEST_P(AnyDecoder, Fp32FollowsFp64) {
  const Decoder wide = random_decoder(GetParam().config, 1);
  const Decoder narrow = random_decoder(GetParam().config, 1, at::kFloat);
  const at::Tensor tokens = random_tokens(GetParam().config, 2, 9, 1);
  const ForwardResult a = wide.forward(tokens), b = narrow.forward(tokens);
  EXPECT_EQ(b.logits_BTV.scalar_type(), at::kFloat);
  EXPECT_LT(greatest_difference(a.logits_BTV, b.logits_BTV), 1e-3);
  EXPECT_NEAR(a.balance_loss.item<double>(), b.balance_loss.item<double>(), 1e-4);
}

TEST_P(AnyDecoder, Bf16FollowsFp32) {
  const Decoder narrow = random_decoder(GetParam().config, 1, at::kBFloat16);
  Decoder wide(GetParam().config);
  for (auto& [name, tensor] : wide.parameters()) tensor.copy_(narrow.parameters().at(name));
  const at::Tensor tokens = random_tokens(GetParam().config, 2, 9, 1);
  const at::Tensor a = wide.forward(tokens).logits_BTV, b = narrow.forward(tokens).logits_BTV;
  EXPECT_EQ(b.scalar_type(), at::kBFloat16);
  // A near-tie of experts may fall the other way, so that single rows may differ.
  const at::Tensor error_BT = (a - b).square().mean(-1).sqrt();
  EXPECT_LT(error_BT.median().item<float>(), 0.03 * a.std().item<float>());
}

TEST_P(AnyDecoder, CrossEntropyIsThatOfLogits) {
  const Decoder decoder = random_decoder(GetParam().config, 1);
  const at::Tensor tokens = random_tokens(GetParam().config, 2, 9, 1);
  at::Tensor targets = random_tokens(GetParam().config, 2, 9, 2);
  targets[1][3] = -100;
  const at::Tensor logits = decoder.forward(tokens).logits_BTV;
  const ForwardResult result = decoder.forward(tokens, {.targets_BT = targets});
  EXPECT_FALSE(result.logits_BTV.defined());
  const at::Tensor expected = at::cross_entropy_loss(logits.flatten(0, 1), targets.flatten());
  EXPECT_NEAR(result.cross_entropy.item<double>(), expected.item<double>(), 1e-12);
}

TEST_P(AnyDecoder, ProvidesWhatItHolds) {
  const Decoder decoder = random_decoder(GetParam().config, 1, at::kFloat);
  const WeightProvider provide = decoder.provider();
  for (const WeightSpec& spec : weight_specs(GetParam().config)) {
    at::Tensor copy = at::empty(spec.shape, at::kFloat);
    provide(spec, copy.data_ptr<float>());
    EXPECT_TRUE(at::equal(copy, decoder.parameters().at(spec.name))) << spec.name;
  }
  float none = 0;
  EXPECT_TALPA_ERROR(provide({"nothing", {1}}, &none), kNotFound, "nothing");
  EXPECT_TALPA_ERROR(provide({"norm", {1}}, &none), kShape, "norm");
}

TEST_P(AnyDecoder, SurvivesAFile) {
  const testing::Scratch scratch;
  const Decoder decoder = random_decoder(GetParam().config, 1, at::kFloat);
  save_hf_directory(scratch / "model", GetParam().config, decoder.provider(),
                    {.dtype = DType::kF32});
  Decoder loaded(GetParam().config);
  loaded.load(open_model(scratch / "model"));
  for (const auto& [name, tensor] : decoder.parameters())
    EXPECT_TRUE(at::equal(tensor, loaded.parameters().at(name))) << name;
}

INSTANTIATE_TEST_SUITE_P(Decoders, AnyDecoder, ::testing::ValuesIn(testing::all_configs()),
                         [](const auto& info) { return info.param.name; });

TEST(Decoder, RefusesTokensThatAreNone) {
  Decoder decoder(tiny_moe());
  decoder.initialise(1);
  const auto forward = [&](const at::Tensor& tokens) { decoder.forward(tokens); };
  EXPECT_TALPA_ERROR(forward(row_of({0, 11})), kShape, "[0, 11)");
  EXPECT_TALPA_ERROR(forward(row_of({0, -1})), kShape, "-1");
  EXPECT_TALPA_ERROR(forward(row_of({0, 1}).flatten()), kShape, "int64");
  EXPECT_TALPA_ERROR(forward(at::zeros({1, 2})), kShape, "int64");
  EXPECT_TALPA_ERROR(forward(at::zeros({1, 0}, at::kLong)), kShape, "int64");
}

TEST(Decoder, RefusesTargetsThatAreNone) {
  Decoder decoder(tiny_moe());
  decoder.initialise(1);
  const at::Tensor tokens = at::zeros({1, 2}, at::kLong);
  const auto forward = [&](const at::Tensor& targets) {
    decoder.forward(tokens, {.targets_BT = targets});
  };
  EXPECT_TALPA_ERROR(forward(row_of({0, 11})), kShape, "[0, 11)");
  EXPECT_TALPA_ERROR(forward(row_of({0, -1})), kShape, "-100");
  EXPECT_TALPA_ERROR(forward(at::zeros({2, 1}, at::kLong)), kShape, "targets");
}

TEST(Decoder, RefusesWeightsThatAreNotFinite) {
  Decoder decoder(tiny_moe());
  decoder.initialise(1);
  decoder.parameters().at("embed").fill_(std::nan(""));
  EXPECT_TALPA_ERROR(decoder.forward(at::zeros({1, 2}, at::kLong)), kFormat, "NaN");
  for (auto& [name, tensor] : decoder.parameters())  // training has the loss to tell it by
    if (tensor.is_floating_point()) tensor.requires_grad_(true);
  EXPECT_TRUE(decoder.forward(at::zeros({1, 2}, at::kLong)).logits_BTV.isnan().any().item<bool>());
}

TEST(Decoder, RefusesAMalformedPivotMask) {
  const testing::Scratch scratch;
  DecoderConfig config = tiny_moe();
  config.family = Family::kTalpa;
  config.moe.latent = {.latent_dim = 5, .group_size = 2, .mixed = true, .basis_rank = 2};
  Decoder decoder(config);
  decoder.initialise(1);
  at::Tensor& mask_Gr = decoder.parameters().at("layers.1.moe.up_pivot");
  const auto load = [&] {
    save_hf_directory(scratch / "model", config, decoder.provider(), {.overwrite = true});
    Decoder loaded(config);
    loaded.load(open_model(scratch / "model"));
  };
  load();
  mask_Gr[1][4] = 1;
  EXPECT_TALPA_ERROR(load(), kFormat, "layers.1.moe.up_pivot: row 1 marks 3 pivots");
  mask_Gr[1][4] = 0.5;
  EXPECT_TALPA_ERROR(load(), kFormat, "layers.1.moe.up_pivot: row 1, column 4 is 0.5");
}

TEST(Decoder, RefusesFilesOfAnotherShape) {
  const testing::Scratch scratch;
  const Decoder small = random_decoder(tiny_moe(), 1, at::kFloat);
  save_hf_directory(scratch / "model", small.config(), small.provider());
  DecoderConfig config = tiny_moe();
  config.vocab_size += 1;
  Decoder large(config);
  EXPECT_TALPA_ERROR(large.load(open_model(scratch / "model")), kShape, "embed");
}

TEST(Router, WeightsAreThoseOfThePlan) {
  torch::manual_seed(1);
  const at::Tensor logits_TN = at::randn({40, 8}) * 3;
  for (const bool normalize : {true, false}) {
    MoeConfig config;
    config.num_experts = 8, config.top_k = 3, config.normalize_top_k = normalize;
    const Routing routing = route_rows(logits_TN, config);
    const at::Tensor plan_S = at::tensor(routing.plan.weight);
    EXPECT_LT(greatest_difference(routing.weight_S, plan_S), 1e-6);
    EXPECT_GT(plan_S.std().item<float>(), 0.05);
  }
}

TEST(Decoder, RecordsRouting) {
  DecoderConfig config = tiny_moe();
  config.moe.dense_layers = {0};
  const Decoder decoder = random_decoder(config, 1);
  const at::Tensor tokens = random_tokens(config, 3, 5, 1);
  EXPECT_TRUE(decoder.forward(tokens).routing.empty());
  const auto routing = decoder.forward(tokens, {.record_routing = true}).routing;
  ASSERT_EQ(routing.size(), 1U);
  EXPECT_EQ(routing[0].layer, 1);
  const auto& rows = routing[0].rows_per_expert;
  EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}), 3 * 5 * 2);
}

// One MoE layer of a family written out row by row.
class MoeLayer : public ::testing::TestWithParam<NamedConfig> {};

TEST_P(MoeLayer, EqualsItsDefinitionRowByRow) {
  const MoeConfig& config = GetParam().config.moe;
  const Decoder decoder = random_decoder(GetParam().config, 1);
  const Scope layer(decoder.parameters(), "layers.1.");
  const Scope moe = layer.in("moe"), shared = layer.in("shared");
  const at::Tensor x_TD = at::randn({13, GetParam().config.dim}, at::kDouble);
  const at::Tensor y_TD = moe_layer(x_TD, layer, config).y_TD;
  const auto swiglu = [](const at::Tensor& gate, const at::Tensor& up, const at::Tensor& down,
                         const at::Tensor& x) { return down.mv(at::silu(gate.mv(x)) * up.mv(x)); };
  for (int t = 0; t < x_TD.size(0); ++t) {
    const at::Tensor x = x_TD[t];
    const auto [p_K, expert_K] = moe.at("router").mv(x).softmax(0).topk(config.top_k);
    const at::Tensor weight_K = config.normalize_top_k ? p_K / p_K.sum() : p_K;
    at::Tensor expected = at::zeros_like(x);
    for (int j = 0; j < config.top_k; ++j) {
      const auto e = expert_K[j].item<std::int64_t>();
      expected += weight_K[j] * swiglu(moe.at("gate")[e], moe.at("up")[e], moe.at("down")[e], x);
    }
    if (config.shared_hidden_dim > 0)
      expected += shared.at("router").mv(x).sigmoid() *
                  swiglu(shared.at("gate"), shared.at("up"), shared.at("down"), x);
    EXPECT_LT(greatest_difference(y_TD[t], expected), 1e-12) << "row " << t;
  }
}

std::vector<NamedConfig> moe_families() {
  auto configs = testing::family_configs();
  std::erase_if(configs, [](const NamedConfig& named) { return !named.config.has_moe(); });
  return configs;
}
INSTANTIATE_TEST_SUITE_P(Families, MoeLayer, ::testing::ValuesIn(moe_families()),
                         [](const auto& info) { return info.param.name; });

double std_of(const Decoder& decoder, const std::string& name) {
  return decoder.parameters().at(name).std().item<double>();
}

TEST(Initialise, StandardDeviationsAreAsSaid) {
  DecoderConfig config = tiny_moe();
  config.dim = 64, config.vocab_size = 200, config.moe.hidden_dim = 48, config.num_layers = 8;
  Decoder decoder(config);
  decoder.initialise(1);
  const std::map<std::string, double> expected{{"embed", 0.02},
                                               {"layers.3.attn.q", 0.02},
                                               {"layers.3.attn.o", 0.005},
                                               {"layers.3.moe.gate", 0.02},
                                               {"layers.3.moe.down", 0.005}};
  for (const auto& [name, std] : expected)
    EXPECT_NEAR(std_of(decoder, name) / std, 1, 0.08) << name;
  EXPECT_TRUE(at::equal(decoder.parameters().at("norm"), at::ones({64})));
}

TEST(Initialise, ProductsOfFactorsHaveTheVarianceOfDenseExperts) {
  for (auto named : testing::latent_configs()) {
    named.config.dim = 96, named.config.moe.hidden_dim = 80;
    LatentConfig& latent = named.config.moe.latent;
    latent.latent_dim = 32, named.config.num_layers = 2;
    if (latent.basis_rank > 0) latent.basis_rank = 16;
    if (latent.down_latent_dim > 0) latent.down_latent_dim = 48;
    if (latent.down_basis_rank > 0) latent.down_basis_rank = 24;
    Decoder decoder(named.config);
    decoder.initialise(1);
    const Scope moe(decoder.parameters(), "layers.1.moe.");
    const auto experts = materialize(moe, named.config.moe.latent);
    EXPECT_NEAR(experts.gate_NMD.std().item<double>() / 0.02, 1, 0.1) << named.name;
    EXPECT_NEAR(experts.up_NMD.std().item<double>() / 0.02, 1, 0.1) << named.name;
    EXPECT_NEAR(experts.down_NDM.std().item<double>() / 0.01, 1, 0.1) << named.name;
  }
}

}  // namespace
}  // namespace talpa::nn
