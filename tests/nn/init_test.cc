#include "talpa/nn/init.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

namespace talpa::nn {
namespace {

constexpr int kDim = 64, kHidden = 48, kLayers = 2;

DecoderConfig init_config(bool latent) {
  DecoderConfig config;
  config.family = Family::kTalpa;
  config.vocab_size = 128;
  config.dim = kDim;
  config.num_layers = kLayers;
  config.ffn_dim = 96;
  config.tie_embeddings = true;
  config.moe.num_experts = 8;
  config.moe.top_k = 2;
  config.moe.hidden_dim = kHidden;
  if (latent) {
    config.moe.latent.latent_dim = 32;
    config.moe.latent.factor_down = true;
    config.moe.latent.share_gate_up_latent = true;
  }
  config.validate("model");
  return config;
}

double rms(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).square().mean().sqrt().item<double>();
}

Parameters begun(const DecoderConfig& config, InitialScale scale) {
  Decoder decoder(config);
  initialise(decoder.parameters(), config, 3, scale);
  return decoder.parameters();
}

// Of layer 1; products where the config has factors.
struct Experts {
  at::Tensor gate, up, down;
};

Experts experts_of(const Parameters& parameters, bool latent) {
  const auto at = [&](const char* role) {
    return parameters.at(std::string("layers.1.moe.") + role);
  };
  if (!latent) return {at("gate"), at("up"), at("down")};
  const at::Tensor in = at("gate_up_in"), out = at("down_out");
  return {at("gate").matmul(in), at("up").matmul(in), out.matmul(at("down"))};
}

class InitialScales : public ::testing::TestWithParam<bool> {};

TEST_P(InitialScales, FactorsMultiplyToTheScaleOfDenseExperts) {
  const DecoderConfig config = init_config(GetParam());
  const double residual = 1 / std::sqrt(2 * kLayers);
  const Experts fixed = experts_of(begun(config, InitialScale::kFixed), GetParam());
  EXPECT_NEAR(rms(fixed.gate) / 0.02, 1, 0.1);
  EXPECT_NEAR(rms(fixed.up) / 0.02, 1, 0.1);
  EXPECT_NEAR(rms(fixed.down) / (0.02 * residual), 1, 0.1);

  const Parameters parameters = begun(config, InitialScale::kFanIn);
  const Experts fan_in = experts_of(parameters, GetParam());
  EXPECT_NEAR(rms(fan_in.gate) * std::sqrt(kDim), 1, 0.1);
  EXPECT_NEAR(rms(fan_in.up) * std::sqrt(kDim), 1, 0.1);
  EXPECT_NEAR(rms(fan_in.down) * std::sqrt(kHidden) / residual, 1, 0.1);
  EXPECT_NEAR(rms(parameters.at("embed")) / 0.02, 1, 0.1);
  EXPECT_NEAR(rms(parameters.at("layers.1.attn.q")) / 0.02, 1, 0.1);
  EXPECT_NEAR(rms(parameters.at("layers.1.moe.router")) / 0.02, 1, 0.1);
}

INSTANTIATE_TEST_SUITE_P(Experts, InitialScales, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "latent" : "dense"; });

TEST(InitialScale, LatentsKeepTheScaleOfTheirInputs) {
  const Parameters parameters = begun(init_config(true), InitialScale::kFanIn);
  const at::Tensor z = parameters.at("layers.0.moe.gate_up_in").matmul(torch::randn({kDim, 256}));
  EXPECT_NEAR(rms(z), 1, 0.15);
}

// U V has rows of V and rows of the same scale: what counts are the r latents, not the rank.
TEST(InitialScale, LowRankBasesHaveTheScaleOfWholeOnes) {
  DecoderConfig config = init_config(true);
  config.moe.latent.mixed = true;
  config.moe.latent.group_size = 4;
  config.moe.latent.basis_rank = 16;
  config.validate("model");
  const Parameters parameters = begun(config, InitialScale::kFanIn);
  const double residual = 1 / std::sqrt(2 * kLayers);
  EXPECT_NEAR(rms(parameters.at("layers.1.moe.gate_up_in")) * std::sqrt(kDim), 1, 0.1);
  EXPECT_NEAR(rms(parameters.at("layers.1.moe.down_out")) * std::sqrt(32) / residual, 1, 0.1);
}

}  // namespace
}  // namespace talpa::nn
