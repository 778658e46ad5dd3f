#include <gtest/gtest.h>

#include <filesystem>

#include "scratch.h"
#include "talpa/engine/generate.h"

namespace talpa::testing {
namespace {

namespace fs = std::filesystem;

/// A trained model, and the type that it is held in.
struct ThreadsCase {
  std::string name;
  fs::path path;
  DType held;
};

std::vector<ThreadsCase> threads_cases() {
  const fs::path source = TALPA_SOURCE_DIR;
  std::vector<ThreadsCase> cases;
  for (const DType held : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    cases.push_back(
        {std::string("reference_moe_") + name_of(held), source / "models" / "reference-moe", held});
    cases.push_back({std::string("smollm2_") + name_of(held),
                     source / ".assets" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf", held});
  }
  return cases;
}

/// What a model says, and the logits behind its prompt.
struct Said {
  std::vector<TokenId> tokens;
  std::vector<float> logits;
};

class ThreadsTest : public ::testing::TestWithParam<ThreadsCase> {
 protected:
  Said say(int threads) const {
    const LoadedModel loaded =
        load_model(GetParam().path, {.weights = GetParam().held, .threads = threads});
    const auto prompt = loaded.tokenizer->encode(
        "The kernel schedules a thread when another one waits, so that no core is idle.");
    Said said;
    said.tokens = generate(loaded, prompt, {.max_tokens = 12, .ignore_eos = true}).tokens;
    KvCache cache(*loaded.model, static_cast<int>(prompt.size()));
    const SequenceInput input{&cache, prompt, LogitsWanted::kLast};
    said.logits = loaded.model->forward({&input, 1});
    return said;
  }
};

/// Pieces of a product go to whoever is free; nobody's sums depend on who that was.
TEST_P(ThreadsTest, GreedyTokensAreTheSame) {
  if (!fs::exists(GetParam().path))
    GTEST_SKIP() << "scripts/fetch-models smollm2 fetches " << GetParam().path;
  const Said alone = say(1);
  ASSERT_EQ(alone.tokens.size(), 12u);
  for (const int threads : {2, 3}) {
    const Said together = say(threads);
    EXPECT_EQ(together.tokens, alone.tokens) << threads;
    EXPECT_EQ(together.logits, alone.logits) << threads;
  }
}

INSTANTIATE_TEST_SUITE_P(TrainedModels, ThreadsTest, ::testing::ValuesIn(threads_cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace talpa::testing
