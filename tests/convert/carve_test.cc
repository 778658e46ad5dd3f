#include "talpa/convert/carve.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>

#include "scratch.h"
#include "talpa/convert/read_tensor.h"
#include "talpa/engine/model.h"
#include "talpa/nn/decoder.h"

namespace talpa::convert {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 1e-4;

DecoderConfig small_llama() {
  DecoderConfig c;
  c.family = Family::kLlama;
  c.vocab_size = 64;
  c.dim = 32;
  c.num_layers = 3;
  c.ffn_dim = 96;
  c.tie_embeddings = true;
  c.attention.num_heads = 4;
  c.attention.num_kv_heads = 2;
  c.attention.head_dim = 8;
  return c;
}

/// Weights large enough for feed-forward layers to matter.
fs::path save_llama(const fs::path& path, DType dtype, double scale = 0.3) {
  nn::Decoder decoder(small_llama());
  torch::manual_seed(3);
  for (auto& [name, value] : decoder.parameters())
    if (value.dim() >= 2)
      value.copy_(torch::randn(value.sizes()) * scale);
    else
      value.copy_(1 + 0.1 * torch::randn(value.sizes()));
  save_hf_directory(path, decoder.config(), decoder.provider(), {.dtype = dtype});
  return path;
}

at::Tensor carved_logits(const fs::path& path) {
  const torch::NoGradGuard no_grad;
  const ModelFiles files = open_model(path);
  nn::Decoder decoder(files.config);
  decoder.load(files);
  return decoder.forward(torch::arange(48, torch::kLong).reshape({2, 24})).logits_BTV;
}

/// Logits of the engine over `count` tokens, held in F32.
std::vector<float> engine_logits(const fs::path& path, int count) {
  const LoadedModel loaded = load_model(path, {.weights = DType::kF32, .threads = 1});
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((i * 37 + 11) % loaded.files.config.vocab_size);
  KvCache cache(*loaded.model, count);
  const SequenceInput input{&cache, tokens, LogitsWanted::kAll};
  return loaded.model->forward({&input, 1});
}

double largest_gap(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return 1e9;
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

CarveOptions options_of(int num_experts, NeuronSplit split) {
  CarveOptions options;
  options.num_experts = num_experts;
  options.split = split;
  options.overwrite = true;
  return options;
}

TEST(Carve, ComputesTheSameFunction) {
  const testing::Scratch scratch;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const fs::path dense = save_llama(scratch / name_of(dtype), dtype);
    const ModelFiles files = open_model(dense);
    const at::Tensor exact = carved_logits(dense);
    ASSERT_GT(exact.std().item<double>(), 0.5);
    for (const NeuronSplit split : {NeuronSplit::kIndex, NeuronSplit::kKMeans})
      for (const int num_experts : {2, 16}) {
        const CarveReport report =
            carve_all_on(files, scratch / "carved", options_of(num_experts, split));
        EXPECT_EQ(report.dtype, dtype);
        EXPECT_EQ(report.explained.size(), 3u);
        const at::Tensor carved = carved_logits(scratch / "carved");
        EXPECT_LT((carved - exact).abs().max().item<double>(), kTolerance) << num_experts;
        EXPECT_LT(largest_gap(engine_logits(scratch / "carved", 24), engine_logits(dense, 24)),
                  kTolerance)
            << num_experts;
      }
  }
}

TEST(Carve, IsAKnownArchitectureWithEveryExpertOn) {
  const testing::Scratch scratch;
  const ModelFiles files = open_model(save_llama(scratch / "dense", DType::kF32));
  carve_all_on(files, scratch / "carved", options_of(8, NeuronSplit::kKMeans));
  const ModelFiles carved = open_model(scratch / "carved");
  EXPECT_EQ(carved.config.family, Family::kMixtral);
  EXPECT_EQ(carved.config.attention, files.config.attention);
  EXPECT_EQ(carved.config.moe.num_experts, 8);
  EXPECT_EQ(carved.config.moe.top_k, 8);
  EXPECT_EQ(carved.config.moe.hidden_dim, 12);
  EXPECT_TRUE(carved.config.moe.normalize_top_k);
  EXPECT_EQ(read_tensor(carved.at("layers.1.moe.router")).abs().max().item<float>(), 0);
  EXPECT_TRUE(fs::exists(scratch / "carved" / "carving.json"));
}

/// Every neuron is in one expert: the same rows of gate and up with the same column of down.
TEST(Carve, KeepsNeuronsWhole) {
  const testing::Scratch scratch;
  const ModelFiles files = open_model(save_llama(scratch / "dense", DType::kF32));
  carve_all_on(files, scratch / "carved", options_of(4, NeuronSplit::kKMeans));
  const ModelFiles carved = open_model(scratch / "carved");
  auto neurons = [](const at::Tensor& gate_FD, const at::Tensor& up_FD, const at::Tensor& down_DF) {
    const at::Tensor rows = torch::cat({gate_FD, up_FD, down_DF.t()}, 1);
    return rows.index_select(0, rows.select(1, 0).argsort());
  };
  const at::Tensor dense =
      neurons(read_tensor(files.at("layers.2.ffn.gate")), read_tensor(files.at("layers.2.ffn.up")),
              read_tensor(files.at("layers.2.ffn.down")));
  const at::Tensor down_DF =
      read_tensor(carved.at("layers.2.moe.down")).permute({1, 0, 2}).reshape({32, 96}) / 4;
  const at::Tensor split =
      neurons(read_tensor(carved.at("layers.2.moe.gate")).flatten(0, 1),
              read_tensor(carved.at("layers.2.moe.up")).flatten(0, 1), down_DF);
  EXPECT_TRUE(dense.equal(split));
}

TEST(Carve, KMeansExplainsMoreThanIndex) {
  const testing::Scratch scratch;
  const ModelFiles files = open_model(save_llama(scratch / "dense", DType::kF32));
  const auto index = carve_all_on(files, scratch / "a", options_of(8, NeuronSplit::kIndex));
  const auto kmeans = carve_all_on(files, scratch / "b", options_of(8, NeuronSplit::kKMeans));
  for (std::size_t layer = 0; layer < 3; ++layer)
    EXPECT_GT(kmeans.explained[layer], index.explained[layer] + 0.05);
}

TEST(Carve, RefusesWhatWouldNotBeExact) {
  const testing::Scratch scratch;
  const ModelFiles files = open_model(save_llama(scratch / "dense", DType::kF32));
  auto carve = [&](int num_experts) {
    carve_all_on(files, scratch / "o", options_of(num_experts, NeuronSplit::kIndex));
  };
  EXPECT_TALPA_ERROR(carve(6), kConfig, "power of two");
  EXPECT_TALPA_ERROR(carve(1), kConfig, "power of two");
  EXPECT_TALPA_ERROR(carve(0), kConfig, "power of two");
  EXPECT_TALPA_ERROR(carve(64), kConfig, "width of 96");
  CarveOptions options = options_of(32, NeuronSplit::kIndex);
  options.dtype = DType::kF16;
  const ModelFiles large = open_model(save_llama(scratch / "large", DType::kF32, 2000));
  EXPECT_TALPA_ERROR(carve_all_on(large, scratch / "o", options), kConfig, "range of f16");
  EXPECT_FALSE(fs::exists(scratch / "o"));
  carve(4);
  EXPECT_TALPA_ERROR(
      carve_all_on(open_model(scratch / "o"), scratch / "p", options_of(4, NeuronSplit::kIndex)),
      kUnsupported, "experts already");
}

TEST(Carve, SmolLM2ComputesTheSameFunction) {
  const fs::path dense =
      fs::path(TALPA_SOURCE_DIR) / ".assets" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(dense)) GTEST_SKIP() << "scripts/fetch-models smollm2 fetches " << dense;
  const testing::Scratch scratch;
  const CarveReport report =
      carve_all_on(open_model(dense), scratch / "carved", options_of(16, NeuronSplit::kIndex));
  EXPECT_EQ(report.expert_dim, 96);
  EXPECT_EQ(report.dtype, DType::kF32);
  EXPECT_LT(largest_gap(engine_logits(scratch / "carved", 32), engine_logits(dense, 32)),
            kTolerance);
}

}  // namespace
}  // namespace talpa::convert
