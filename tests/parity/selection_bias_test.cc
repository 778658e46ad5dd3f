// A selection bias from the laboratory through a file to the engine.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "scratch.h"
#include "talpa/engine/model.h"
#include "talpa/nn/decoder.h"

namespace talpa {
namespace {

DecoderConfig biased_moe() {
  DecoderConfig config;
  config.family = Family::kTalpa;
  config.vocab_size = 50;
  config.dim = 32;
  config.num_layers = 2;
  config.ffn_dim = 32;
  config.attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 16};
  config.moe.num_experts = 8;
  config.moe.hidden_dim = 16;
  config.moe.selection_bias = true;
  return config;
}

nn::Decoder random_biased(double scale) {
  nn::Decoder decoder(biased_moe());
  decoder.initialise(1);
  torch::manual_seed(2);
  for (auto& [name, tensor] : decoder.parameters())
    tensor.copy_(name.ends_with("router_bias") ? scale * torch::randn(tensor.sizes())
                                               : 10 * tensor);
  return decoder;
}

std::vector<float> engine_logits(const nn::Decoder& decoder, const std::vector<TokenId>& tokens) {
  const testing::Scratch scratch;
  save_hf_directory(scratch / "model", decoder.config(), decoder.provider(),
                    {.dtype = DType::kF32});
  const ModelFiles files = open_model(scratch / "model");
  const auto model = Model::load(files, {.weights = DType::kF32, .threads = 1});
  KvCache cache(files.config, 32);
  const SequenceInput prompt{&cache, tokens, LogitsWanted::kAll};
  return model->forward({&prompt, 1});
}

TEST(SelectionBias, EngineAndLaboratoryAgree) {
  const std::vector<TokenId> tokens{3, 14, 15, 9, 26, 5, 35, 8, 9, 7};
  std::vector<std::vector<float>> of_scale;
  for (const double scale : {0.0, 0.3}) {
    const nn::Decoder decoder = random_biased(scale);
    const torch::NoGradGuard no_grad;
    // In fp64: weights ten times their size leave fp32 little room below the bound.
    nn::Decoder wide(decoder.config(), at::kDouble);
    for (auto& [name, tensor] : wide.parameters()) tensor.copy_(decoder.parameters().at(name));
    const at::Tensor expected =
        wide.forward(torch::tensor(tokens, torch::kLong).unsqueeze(0)).logits_BTV[0].to(at::kFloat);
    of_scale.push_back(engine_logits(decoder, tokens));
    const at::Tensor actual = torch::tensor(of_scale.back()).view(expected.sizes());
    EXPECT_LT((actual - expected).abs().max().item<float>(), 1e-4) << scale;
  }
  EXPECT_NE(of_scale[0], of_scale[1]);
}

TEST(SelectionBias, StaysInFp32) {
  const testing::Scratch scratch;
  const nn::Decoder decoder = random_biased(0.001);
  save_hf_directory(scratch / "model", decoder.config(), decoder.provider(),
                    {.dtype = DType::kBF16});
  nn::Decoder loaded(biased_moe());
  loaded.load(open_model(scratch / "model"));
  const char* name = "layers.1.moe.router_bias";
  EXPECT_TRUE(loaded.parameters().at(name).equal(decoder.parameters().at(name)));
}

}  // namespace
}  // namespace talpa
