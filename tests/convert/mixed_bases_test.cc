// Experts on mixed bases: the laboratory, the engine in every form and the materialised model.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "scratch.h"
#include "talpa/convert/convert.h"
#include "talpa/engine/model.h"
#include "talpa/nn/decoder.h"

namespace talpa::convert {
namespace {

namespace fs = std::filesystem;

struct BasesCase {
  std::string name;
  LatentConfig latent;
};

DecoderConfig moe_with(const LatentConfig& latent) {
  DecoderConfig c;
  c.family = Family::kTalpa;
  c.origin = Family::kQwen3Moe;
  c.vocab_size = 64;
  c.dim = 32;
  c.num_layers = 2;
  c.ffn_dim = 32;
  c.attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .qk_norm = QkNorm::kPerHead};
  c.moe.num_experts = 8;
  c.moe.top_k = 2;
  c.moe.hidden_dim = 24;
  c.moe.latent = latent;
  return c;
}

/// Matrices that keep variance, mixes like a softmax's, pivots spread by chance.
void fill(nn::Decoder& decoder) {
  torch::manual_seed(5);
  const int rank = decoder.config().moe.latent.basis_rank;
  for (auto& [name, tensor] : decoder.parameters()) {
    if (name.ends_with("_pivot")) {
      tensor.zero_().scatter_(1, torch::rand(tensor.sizes()).argsort(1, false).slice(1, 0, rank),
                              1);
    } else if (name.ends_with("_mix")) {
      tensor.copy_(torch::randn(tensor.sizes()).softmax(1) * 2);
    } else if (name.ends_with("norm")) {
      tensor.copy_(1 + 0.1 * torch::randn(tensor.sizes()));
    } else {
      const double columns = static_cast<double>(tensor.size(-1));
      tensor.copy_(torch::randn(tensor.sizes()) * (1.4 / std::sqrt(columns)));
    }
  }
}

constexpr int kTokens = 24;

at::Tensor bases_logits(const fs::path& path) {
  const torch::NoGradGuard no_grad;
  const ModelFiles files = open_model(path);
  nn::Decoder decoder(files.config);
  decoder.load(files);
  return decoder.forward(torch::arange(kTokens, torch::kLong).unsqueeze(0)).logits_BTV[0];
}

at::Tensor engine_logits(const fs::path& path, ExpertForm form) {
  const auto model =
      Model::load(open_model(path),
                  {.weights = DType::kF32, .experts = form, .expert_cache = 20000, .threads = 2});
  KvCache cache(*model, kTokens);
  std::vector<TokenId> tokens(kTokens);
  for (int t = 0; t < kTokens; ++t) tokens[t] = t;
  const SequenceInput input{&cache, tokens, LogitsWanted::kAll};
  return torch::tensor(model->forward({&input, 1})).view({kTokens, -1});
}

double farthest(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

class ConvertedBases : public ::testing::TestWithParam<BasesCase> {};

TEST_P(ConvertedBases, LaboratoryEngineAndMaterialisedModelAgree) {
  const testing::Scratch scratch;
  const DecoderConfig config = moe_with(GetParam().latent);
  config.validate("model");
  nn::Decoder decoder(config);
  fill(decoder);
  save_hf_directory(scratch / "mixed", config, decoder.provider(), {.dtype = DType::kF32});
  materialise(open_model(scratch / "mixed"), scratch / "dense", DType::kF32, false);
  EXPECT_EQ(open_model(scratch / "dense").config.family, Family::kQwen3Moe);

  const at::Tensor expected = bases_logits(scratch / "mixed");
  EXPECT_GT(expected.std().item<double>(), 0.1);
  EXPECT_LT(farthest(bases_logits(scratch / "dense"), expected), 1e-4);
  for (const ExpertForm form : {ExpertForm::kLatent, ExpertForm::kDense})
    EXPECT_LT(farthest(engine_logits(scratch / "mixed", form), expected), 1e-4);
  EXPECT_LT(farthest(engine_logits(scratch / "dense", ExpertForm::kAuto), expected), 1e-4);

  // No part of the arithmetic is negligible.
  for (const std::string name : {"_mix", "_in", "_basis", "_pivot"}) {
    if (name == "_basis" && config.moe.latent.basis_rank == 0) break;
    const torch::NoGradGuard no_grad;
    nn::Decoder changed(config);
    fill(changed);
    for (auto& [key, tensor] : changed.parameters())
      if (key.ends_with(name)) tensor.copy_(tensor.roll(1, -1));
    const at::Tensor tokens_BT = torch::arange(kTokens, torch::kLong).unsqueeze(0);
    EXPECT_GT(farthest(changed.forward(tokens_BT).logits_BTV[0], expected), 1e-2) << name;
  }
}

TEST_P(ConvertedBases, AMalformedPivotMaskIsNamed) {
  const DecoderConfig config = moe_with(GetParam().latent);
  if (config.moe.latent.basis_rank == 0) GTEST_SKIP() << "full bases have no pivots";
  const testing::Scratch scratch;
  nn::Decoder decoder(config);
  fill(decoder);
  decoder.parameters().at("layers.1.moe.gate_pivot")[0].fill_(0);
  save_hf_directory(scratch / "mixed", config, decoder.provider());
  const ModelFiles files = open_model(scratch / "mixed");
  EXPECT_TALPA_ERROR(materialise(files, scratch / "dense", DType::kF32, false), kFormat,
                     "layers.1.moe.gate_pivot: row 0 marks 0 pivots");
  EXPECT_FALSE(fs::exists(scratch / "dense"));
}

using enum BasisActivation;
INSTANTIATE_TEST_SUITE_P(
    Methods, ConvertedBases,
    ::testing::Values(
        BasesCase{"mobe_silu",
                  {.latent_dim = 24, .group_size = 2, .mixed = true, .basis_activation = kSilu}},
        BasesCase{"mobe_tanh",
                  {.latent_dim = 24, .group_size = 2, .mixed = true, .basis_activation = kTanh}},
        BasesCase{"slbf",
                  {.latent_dim = 24,
                   .group_size = 1,
                   .factor_down = true,
                   .mixed = true,
                   .basis_activation = kSilu,
                   .basis_rank = 5}},
        BasesCase{"slbf_gate_up",
                  {.latent_dim = 20,
                   .group_size = 1,
                   .mixed = true,
                   .basis_activation = kTanh,
                   .basis_rank = 7}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace talpa::convert
