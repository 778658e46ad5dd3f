#include "talpa/convert/distil.h"

#include "fixtures.h"
#include "talpa/convert/convert.h"

namespace talpa::convert {
namespace {

std::vector<TokenSequence> random_sequences(int count) {
  torch::manual_seed(9);
  std::vector<TokenSequence> sequences;
  for (int i = 0; i < count; ++i) {
    const at::Tensor ids = torch::randint(64, {32}, torch::kInt);
    sequences.emplace_back(ids.const_data_ptr<std::int32_t>(),
                           ids.const_data_ptr<std::int32_t>() + ids.numel());
  }
  return sequences;
}

ConvertOptions distil_options_of(const std::string& method) {
  ConvertOptions options{.method = method, .dtype = DType::kF32};
  options.latent = {.latent_dim = 8, .factor_down = true};
  if (method == "mobe-plus") {
    options.latent.group_size = 4;
    options.steps = 20;
  }
  return options;
}

TEST(Distil, BringsStatesBackAndLeavesTheRest) {
  for (const std::string method : {"svd", "mobe-plus"}) {
    SCOPED_TRACE(method);
    const testing::Scratch scratch;
    const ModelFiles original = open_model(save_random(scratch / "moe"));
    convert_model(original, scratch / "latent", distil_options_of(method));
    const ModelFiles converted = open_model(scratch / "latent");
    const DistilReport report = distil(original, converted, random_sequences(64), scratch / "out",
                                       {.steps = 100, .batch_rows = 256, .dtype = DType::kF32});
    ASSERT_EQ(report.layers.size(), 2u);
    for (const auto& layer : report.layers) EXPECT_LT(layer.after, 0.95 * layer.before);
    const ModelFiles out = open_model(scratch / "out");
    EXPECT_EQ(out.config, converted.config);
    for (const auto& [name, weight] : out.weights) {
      at::Tensor before = torch::empty(weight.shape), after = torch::empty(weight.shape);
      converted.at(name).read(before.data_ptr<float>());
      weight.read(after.data_ptr<float>());
      const bool trained = name.find(".moe.") != std::string::npos && !name.ends_with("router");
      EXPECT_EQ(after.equal(before), !trained) << name;
    }
  }
}

TEST(Distil, KeepsWhatCannotBeBettered) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  const DistilReport report = distil(original, original, random_sequences(8), scratch / "out",
                                     {.steps = 30, .dtype = DType::kF32});
  for (const auto& layer : report.layers) EXPECT_EQ(layer.after, layer.before);
  EXPECT_TRUE(logits_of(scratch / "out").equal(logits_of(scratch / "moe")));
}

TEST(Distil, RefusesAndStopsWithoutTouchingWhatIsThere) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  EXPECT_TALPA_ERROR(distil(original, original, random_sequences(2), scratch / "moe", {}), kUsage,
                     "exists already");
  const std::atomic<bool> cancelled = true;
  EXPECT_TALPA_ERROR(
      distil(original, original, random_sequences(2), scratch / "out", {.cancelled = &cancelled}),
      kInterrupted, "not kept");
  EXPECT_FALSE(std::filesystem::exists(scratch / "out"));
}

}  // namespace
}  // namespace talpa::convert
