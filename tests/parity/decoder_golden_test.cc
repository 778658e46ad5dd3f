// The laboratory's decoder and the runtime's engine against transformers, for every family.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "model/checkpoint.h"
#include "talpa/engine/model.h"
#include "talpa/nn/decoder.h"

namespace talpa {
namespace {

using namespace talpa::testing;

constexpr double kTolerance = 1e-4;

/// What transformers computed.
struct Expected {
  std::vector<TokenId> tokens;
  std::vector<float> logits_TV;
  std::vector<TokenId> greedy;
};

std::vector<TokenId> token_ids(const TensorView& view) {
  const std::vector<float> values = read_floats(view);
  return {values.begin(), values.end()};
}

Expected expected_of(const std::string& name) {
  const auto store = open_safetensors(golden_model(name) / "expected.safetensors");
  return {token_ids(store->at("tokens")), read_floats(store->at("logits")),
          token_ids(store->at("greedy"))};
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

TokenId best(std::span<const float> logits_V) {
  return static_cast<TokenId>(std::max_element(logits_V.begin(), logits_V.end()) -
                              logits_V.begin());
}

at::Tensor laboratory_logits(const nn::Decoder& decoder, const std::vector<TokenId>& tokens) {
  const torch::NoGradGuard no_grad;
  const at::Tensor tokens_BT = torch::tensor(tokens, torch::kLong).unsqueeze(0);
  return decoder.forward(tokens_BT).logits_BTV[0].to(torch::kFloat).contiguous();
}

std::span<const float> floats_of(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// A family, and which of its files.
struct Source {
  std::string name;
  std::string file;  ///< within the directory; empty: the directory
  std::filesystem::path path() const { return golden_model(name) / file; }
};

class DecoderGolden : public ::testing::TestWithParam<Source> {};

TEST_P(DecoderGolden, LaboratoryAgreesWithTransformers) {
  const ModelFiles files = open_model(GetParam().path());
  const Expected expected = expected_of(GetParam().name);
  nn::Decoder decoder(files.config);
  decoder.load(files);
  const at::Tensor logits = laboratory_logits(decoder, expected.tokens);
  EXPECT_LT(largest_difference(floats_of(logits), expected.logits_TV), kTolerance);
  std::vector<TokenId> sequence = expected.tokens;
  for (const TokenId token : expected.greedy) {
    const at::Tensor next = laboratory_logits(decoder, sequence)[-1].contiguous();
    ASSERT_EQ(best(floats_of(next)), token) << "after " << sequence.size() << " tokens";
    sequence.push_back(token);
  }
}

TEST_P(DecoderGolden, EngineAgreesWithTransformers) {
  const ModelFiles files = open_model(GetParam().path());
  const Expected expected = expected_of(GetParam().name);
  const auto model = Model::load(files, {.weights = DType::kF32, .threads = 2});
  KvCache cache(files.config, 64);
  const SequenceInput prompt{&cache, expected.tokens, LogitsWanted::kAll};
  std::vector<float> logits = model->forward({&prompt, 1});
  EXPECT_LT(largest_difference(logits, expected.logits_TV), kTolerance);
  const auto vocab_size = static_cast<std::size_t>(files.config.vocab_size);
  for (const TokenId token : expected.greedy) {
    ASSERT_EQ(best(std::span(logits).last(vocab_size)), token) << "at " << cache.length();
    const SequenceInput step{&cache, {&token, 1}, LogitsWanted::kLast};
    logits = model->forward({&step, 1});
  }
}

std::vector<Source> sources() {
  std::vector<Source> list;
  for (const std::string& name : golden_cases()) list.push_back({name, ""});
  for (const char* name : {"llama", "mixtral", "qwen2_moe"}) list.push_back({name, "model.gguf"});
  return list;
}

INSTANTIATE_TEST_SUITE_P(Families, DecoderGolden, ::testing::ValuesIn(sources()),
                         [](const auto& info) {
                           return info.param.name + (info.param.file.empty() ? "" : "_gguf");
                         });

}  // namespace
}  // namespace talpa
