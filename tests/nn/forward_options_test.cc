// Documents in one sequence, and layers that run again for the gradient.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/counting_allocator.h"
#include "nn/decoders.h"

namespace talpa::nn {
namespace {

using talpa::testing::CountingAllocator;
using talpa::testing::NamedConfig;
using talpa::testing::random_decoder;
using talpa::testing::random_tokens;

class ForwardOptionsOf : public ::testing::TestWithParam<NamedConfig> {};

INSTANTIATE_TEST_SUITE_P(Decoders, ForwardOptionsOf, ::testing::ValuesIn(testing::all_configs()),
                         [](const auto& info) { return info.param.name; });

at::Tensor logits_of(const Decoder& decoder, const at::Tensor& tokens,
                     const at::Tensor& documents) {
  const torch::NoGradGuard no_grad;
  return decoder.forward(tokens, {.documents_BT = documents}).logits_BTV;
}

TEST_P(ForwardOptionsOf, DocumentsOfOneSequenceAreAsIfAlone) {
  const Decoder decoder = random_decoder(GetParam().config, 1);
  const at::Tensor tokens = random_tokens(GetParam().config, 1, 9, 2);
  const at::Tensor documents = at::tensor({0, 0, 0, 0, 1, 1, 2, 2, 2}, at::kLong).unsqueeze(0);
  const at::Tensor packed = logits_of(decoder, tokens, documents);
  for (const auto& [first, length] : {std::pair{0, 4}, std::pair{4, 2}, std::pair{6, 3}}) {
    const at::Tensor alone = logits_of(decoder, tokens.narrow(1, first, length), {});
    EXPECT_LT((packed.narrow(1, first, length) - alone).abs().max().item<double>(), 1e-6);
  }
  EXPECT_GT((packed - logits_of(decoder, tokens, {})).abs().max().item<double>(), 1e-3);
  EXPECT_LT((logits_of(decoder, tokens, at::zeros_like(documents)) - logits_of(decoder, tokens, {}))
                .abs()
                .max()
                .item<double>(),
            1e-12);
}

std::map<std::string, at::Tensor> gradients_of(Decoder& decoder, const at::Tensor& tokens,
                                               bool recompute) {
  for (auto& [name, tensor] : decoder.parameters()) tensor.mutable_grad().reset();
  const auto result = decoder.forward(tokens, {.recompute = recompute});
  (result.logits_BTV.square().mean() + 0.1 * result.balance_loss + 0.1 * result.z_loss).backward();
  std::map<std::string, at::Tensor> gradients;
  for (auto& [name, tensor] : decoder.parameters())
    if (tensor.grad().defined()) gradients[name] = tensor.grad().clone();
  return gradients;
}

TEST_P(ForwardOptionsOf, RecomputedLayersHaveTheSameGradientsBitForBit) {
  Decoder decoder = random_decoder(GetParam().config, 1);
  decoder.set_requires_grad(true);
  const at::Tensor tokens = random_tokens(GetParam().config, 2, 7, 2);
  const auto kept = gradients_of(decoder, tokens, false);
  const auto again = gradients_of(decoder, tokens, true);
  EXPECT_EQ(kept.size(), again.size());
  for (const auto& [name, gradient] : kept) EXPECT_TRUE(gradient.equal(again.at(name))) << name;
}

TEST(ForwardOptions, RecomputedLayersKeepTheirInputsOnly) {
  DecoderConfig config = testing::tiny_moe();
  config.num_layers = 6;
  Decoder decoder = random_decoder(config, 1, at::kFloat);
  decoder.set_requires_grad(true);
  const at::Tensor tokens = random_tokens(config, 8, 64, 2);
  const auto kept_by = [&](bool recompute) {
    CountingAllocator counter;
    const auto result = decoder.forward(tokens, {.targets_BT = tokens, .recompute = recompute});
    return counter.live();
  };
  const std::int64_t inputs = config.num_layers * tokens.numel() * config.dim * 4;
  EXPECT_LT(kept_by(true), 3 * inputs);
  EXPECT_GT(kept_by(false), 4 * kept_by(true));
}

}  // namespace
}  // namespace talpa::nn
