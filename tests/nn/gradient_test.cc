// Gradients of whole decoders against central differences, in fp64.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/decoders.h"
#include "talpa/base/random.h"

namespace talpa::nn {
namespace {

using talpa::testing::NamedConfig;

constexpr double kStep = 1e-6;
constexpr int kEntriesPerTensor = 4;

class Gradient : public ::testing::TestWithParam<NamedConfig> {};

at::Tensor loss_of(const Decoder& decoder, const at::Tensor& tokens_BT) {
  const ForwardResult result = decoder.forward(tokens_BT);
  const at::Tensor logits = result.logits_BTV.slice(1, 0, -1).flatten(0, 1);
  return at::cross_entropy_loss(logits, tokens_BT.slice(1, 1).flatten()) +
         0.1 * result.balance_loss + 0.1 * result.z_loss;
}

double central_difference(const Decoder& decoder, const at::Tensor& tokens_BT, double& entry) {
  const torch::NoGradGuard no_grad;
  const double value = entry;
  entry = value + kStep;
  const double above = loss_of(decoder, tokens_BT).item<double>();
  entry = value - kStep;
  const double below = loss_of(decoder, tokens_BT).item<double>();
  entry = value;
  return (above - below) / (2 * kStep);
}

TEST_P(Gradient, AgreesWithCentralDifferences) {
  Decoder decoder = testing::random_decoder(GetParam().config, 1);
  decoder.set_requires_grad(true);
  const at::Tensor tokens_BT = testing::random_tokens(GetParam().config, 2, 7, 2);
  loss_of(decoder, tokens_BT).backward();
  Random random(3);
  for (auto& [name, tensor] : decoder.parameters()) {
    if (!is_trained(name)) {
      EXPECT_FALSE(tensor.requires_grad() || tensor.grad().defined()) << name;
      continue;
    }
    ASSERT_TRUE(tensor.grad().defined()) << name << " gets no gradient";
    EXPECT_GT(tensor.grad().abs().max().item<double>(), 0) << name;
    const at::Tensor gradient = tensor.grad().contiguous();
    for (int i = 0; i < kEntriesPerTensor; ++i) {
      const auto at = static_cast<std::int64_t>(random.below(tensor.numel()));
      const double expected = central_difference(decoder, tokens_BT, tensor.data_ptr<double>()[at]);
      EXPECT_NEAR(gradient.data_ptr<double>()[at], expected, 1e-7 + 1e-6 * std::abs(expected))
          << name << " entry " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Decoders, Gradient, ::testing::ValuesIn(testing::all_configs()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace talpa::nn
