#include "talpa/convert/convert.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "scratch.h"
#include "talpa/base/random.h"
#include "talpa/model/accounting.h"
#include "talpa/nn/decoder.h"

namespace talpa::convert {
namespace {

namespace fs = std::filesystem;

DecoderConfig small_moe() {
  DecoderConfig c;
  c.family = Family::kQwen3Moe;
  c.vocab_size = 64;
  c.dim = 32;
  c.num_layers = 2;
  c.ffn_dim = 32;
  c.tie_embeddings = true;
  c.attention.num_heads = 2;
  c.attention.num_kv_heads = 1;
  c.attention.head_dim = 16;
  c.attention.qk_norm = QkNorm::kPerHead;
  c.moe.num_experts = 8;
  c.moe.top_k = 2;
  c.moe.hidden_dim = 16;
  return c;
}

fs::path save_random(const fs::path& path) {
  nn::Decoder decoder(small_moe());
  decoder.initialise(3);
  save_hf_directory(path, decoder.config(), decoder.provider(), {.dtype = DType::kF32});
  return path;
}

at::Tensor logits_of(const fs::path& path) {
  const torch::NoGradGuard no_grad;
  const ModelFiles files = open_model(path);
  nn::Decoder decoder(files.config);
  decoder.load(files);
  const at::Tensor tokens_BT = torch::arange(24, torch::kLong).reshape({2, 12});
  return decoder.forward(tokens_BT).logits_BTV;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Convert, LatentModelEqualsItsMaterialisedForm) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  for (const char* factors : {"gate up", "all", "shared"}) {
    ConvertOptions options{.dtype = DType::kF32, .overwrite = true};
    options.latent.group_size = 4;
    options.latent.latent_dim = 8;
    options.latent.factor_down = std::string(factors) != "gate up";
    options.latent.share_gate_up_latent = std::string(factors) == "shared";
    convert_to_latent(original, scratch / "mole", options);
    materialise(open_model(scratch / "mole"), scratch / "dense", DType::kF32, true);
    options.materialise = true;
    convert_to_latent(original, scratch / "direct", options);
    const at::Tensor latent = logits_of(scratch / "mole");
    EXPECT_LT(largest_difference(latent, logits_of(scratch / "dense")), 1e-5) << factors;
    EXPECT_LT(largest_difference(latent, logits_of(scratch / "direct")), 1e-5) << factors;
    EXPECT_EQ(open_model(scratch / "dense").config.family, Family::kQwen3Moe);
  }
}

TEST(Convert, ErrorFallsWithTheLatentWidth) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  const at::Tensor exact = logits_of(scratch / "moe");
  double last_error = 1, last_difference = 1e9;
  for (const int width : {4, 10, 20}) {
    ConvertOptions options{.dtype = DType::kF32, .overwrite = true};
    options.latent.latent_dim = width;
    const ConversionReport report = convert_to_latent(original, scratch / "mole", options);
    const double difference = largest_difference(logits_of(scratch / "mole"), exact);
    EXPECT_LT(report.relative_error, last_error);
    EXPECT_LT(difference, last_difference);
    last_error = report.relative_error;
    last_difference = difference;
  }
}

TEST(Convert, BudgetIsKept) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  for (const double budget : {0.9, 0.75, 0.6}) {
    ConvertOptions options{.budget = budget, .overwrite = true};
    const ConversionReport report = convert_to_latent(original, scratch / "mole", options);
    EXPECT_LE(report.expert_share, budget);
    EXPECT_GT(report.expert_share, budget - 0.25);
    const Account account = account_of(open_model(scratch / "mole").config);
    EXPECT_EQ(account.expert_params, report.expert_params_after);
    EXPECT_TRUE(fs::exists(scratch / "mole" / "conversion.json"));
  }
}

TEST(Convert, RefusesWhatCannotBe) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options;
  EXPECT_TALPA_ERROR(convert_to_latent(original, scratch / "o", options), kUsage, "budget");
  options.budget = 0.01;
  EXPECT_TALPA_ERROR(convert_to_latent(original, scratch / "o", options), kConfig,
                     "no latent width");
  options.budget = 0.5;
  options.latent.latent_dim = 8;
  EXPECT_TALPA_ERROR(convert_to_latent(original, scratch / "o", options), kUsage, "not both");
  options.budget = 0;
  options.latent.group_size = 1;
  options.latent.latent_dim = 32;
  EXPECT_THROW(convert_to_latent(original, scratch / "o", options), Error);
  options.method = "nope";
  EXPECT_THROW(convert_to_latent(original, scratch / "o", options), Error);
  EXPECT_FALSE(fs::exists(scratch / "o"));
}

TEST(Convert, SecondConversionIsRefused) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{.budget = 0.75};
  convert_to_latent(original, scratch / "mole", options);
  EXPECT_TALPA_ERROR(convert_to_latent(open_model(scratch / "mole"), scratch / "o", options),
                     kUnsupported, "latent experts already");
  EXPECT_TALPA_ERROR(convert_to_latent(original, scratch / "mole", options), kUsage, "exists");
}

}  // namespace
}  // namespace talpa::convert
