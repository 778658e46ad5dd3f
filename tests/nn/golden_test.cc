// Logits and greedy continuations of tiny checkpoints against transformers' own
// (scripts/golden/model_families.py).
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "scratch.h"
#include "talpa/format/tensor_store.h"
#include "talpa/nn/decoder.h"

namespace talpa::nn {
namespace {

at::Tensor read(const TensorStore& store, const std::string& name) {
  const std::vector<float> values = read_floats(store.at(name));
  return at::tensor(values).view(store.at(name).shape);
}

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  Golden() : decoder_(open(directory()).config) { decoder_.load(open(directory())); }

  static std::filesystem::path directory() { return testing::golden("model") / GetParam(); }
  static ModelFiles open(const std::filesystem::path& path) { return open_model(path); }

  at::Tensor expected(const std::string& name) const {
    return read(*open_safetensors(directory() / "expected.safetensors"), name);
  }
  at::Tensor logits_of(const at::Tensor& tokens_T) const {
    return decoder_.forward(tokens_T.unsqueeze(0)).logits_BTV[0];
  }

  const torch::NoGradGuard no_grad_;
  Decoder decoder_;
};

TEST_P(Golden, LogitsAgreeWithTransformers) {
  const at::Tensor logits_TV = logits_of(expected("tokens").to(at::kLong));
  const at::Tensor expected_TV = expected("logits");
  EXPECT_LT((logits_TV - expected_TV).abs().max().item<float>(), 1e-4);
  EXPECT_GT(expected_TV.std().item<float>(), 0.1);
}

TEST_P(Golden, GreedyContinuationAgreesWithTransformers) {
  at::Tensor tokens_T = expected("tokens").to(at::kLong);
  const at::Tensor greedy = expected("greedy").to(at::kLong);
  for (int i = 0; i < greedy.size(0); ++i) {
    const at::Tensor next = logits_of(tokens_T)[-1].argmax();
    ASSERT_EQ(next.item<std::int64_t>(), greedy[i].item<std::int64_t>()) << "step " << i;
    tokens_T = at::cat({tokens_T, next.view({1})});
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Golden,
                         ::testing::Values("llama", "llama_tied", "mixtral", "qwen2_moe",
                                           "qwen3_moe", "qwen3_moe_sparse", "olmoe"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace talpa::nn
