#include "talpa/task/lm/lm_task.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <fstream>
#include <set>

#include "scratch.h"
#include "talpa/text/bpe_trainer.h"

namespace talpa::lm {
namespace {

namespace fs = std::filesystem;

/// A small text with structure: sums and their results.
void write_documents(const fs::path& path, int first, int count) {
  std::ofstream out(path);
  for (int i = first; i < first + count; ++i)
    out << Json{{"domain", "sums"},
                {"text", fmt::format("{} plus {} is {}. The sum of {} and {} is {}.", i, i % 7,
                                     i + i % 7, i % 7, i, i + i % 7)}}
               .dump()
        << "\n";
}

/// A recipe on that text, with the files it needs, in `folder`.
LmRecipe small_recipe(const fs::path& folder) {
  write_documents(folder / "train.jsonl", 0, 400);
  write_documents(folder / "valid.jsonl", 400, 40);
  BpeTrainer trainer({.vocab_size = 300});
  std::ifstream in(folder / "train.jsonl");
  for (std::string line; std::getline(in, line);)
    trainer.add(Json::parse(line)["text"].get<std::string>());
  fs::create_directories(folder / "tokenizer");
  write_text(folder / "tokenizer" / "tokenizer.json", trainer.train().dump());

  LmRecipe r;
  r.data = {.train = folder / "train.jsonl",
            .valid = folder / "valid.jsonl",
            .tokenizer = folder / "tokenizer",
            .cache = folder / "cache",
            .sequence_length = 32,
            .batch_size = 4,
            .eval_batches = 4};
  r.model.family = Family::kQwen3Moe;
  r.model.vocab_size = 300;
  r.model.dim = 32;
  r.model.num_layers = 2;
  r.model.ffn_dim = 32;
  r.model.tie_embeddings = true;
  r.model.eos_tokens = {0};
  r.model.attention = {
      .num_heads = 2, .num_kv_heads = 1, .head_dim = 16, .qk_norm = QkNorm::kPerHead};
  r.model.moe.num_experts = 4;
  r.model.moe.hidden_dim = 16;
  r.trainer.steps = 12;
  r.trainer.log_every = 4;
  r.trainer.checkpoint_every = 5;
  r.trainer.threads = 1;
  r.trainer.schedule.learning_rate = 5e-3;
  r.trainer.schedule.warmup_steps = 2;
  return r;
}

TEST(LmTask, LearnsAndItsModelIsReadable) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  recipe.trainer.steps = 60;
  LmTask task(recipe);
  const double before = task.evaluate().at("loss");
  EXPECT_NEAR(before, std::log(300.0), 0.5);
  const auto after = train::run_training(recipe.trainer, task, {.directory = scratch / "run"});
  EXPECT_LT(after.at("loss"), before - 1.5);
  EXPECT_GT(after.at("bits_per_byte"), 0);
  EXPECT_GT(after.at("load_max"), after.at("load_min"));
  const ModelFiles files = open_model(scratch / "run" / "final");
  EXPECT_EQ(files.config.family, Family::kQwen3Moe);
  EXPECT_TRUE(fs::exists(scratch / "run" / "final" / "tokenizer.json"));
}

class EachOptimizer : public ::testing::TestWithParam<train::OptimizerKind> {};

INSTANTIATE_TEST_SUITE_P(LmTask, EachOptimizer,
                         ::testing::Values(train::OptimizerKind::kAdamW,
                                           train::OptimizerKind::kMuon),
                         [](const auto& info) { return std::string(enum_name(info.param)); });

TEST_P(EachOptimizer, InterruptedRunGoesOnBitExactly) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  recipe.trainer.optimizer.kind = GetParam();
  LmTask whole(recipe);
  train::run_training(recipe.trainer, whole, {.directory = scratch / "whole"});
  std::atomic<bool> stop{true};
  LmTask part(recipe);
  EXPECT_THROW(
      train::run_training(recipe.trainer, part, {.directory = scratch / "part", .stop = &stop}),
      Error);
  LmTask resumed(recipe);
  train::run_training(recipe.trainer, resumed, {.directory = scratch / "part", .resume = true});
  for (const auto& [name, value] : whole.parameters())
    EXPECT_TRUE(value.equal(resumed.parameters().at(name))) << name;
}

/// Most rows of an expert over the mean, held out, after training; no coefficient unless set.
double trained_load(LmRecipe recipe, const fs::path& folder) {
  recipe.trainer.steps = 150;
  recipe.trainer.micro_batches = 2;
  recipe.trainer.eval_every = recipe.trainer.checkpoint_every = 0;
  LmTask task(recipe);
  return train::run_training(recipe.trainer, task, {.directory = folder}).at("load_max");
}

TEST(LmTask, LoadEvensOut) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  recipe.model.moe.num_experts = 8;
  recipe.model.moe.balance_loss = 0;
  const double alone = trained_load(recipe, scratch / "none");
  EXPECT_GT(alone, 1.5);
  LmRecipe biased = recipe;
  biased.model.family = Family::kTalpa;
  biased.model.moe.selection_bias = true;
  biased.balance = {.bias = train::BiasUpdate::kSign, .bias_rate = 5e-3};
  double load = 0;  // of one run it depends on the last bits of sums: 1.2 to 1.5
  for (const int seed : {1, 2, 3}) {
    biased.seed = static_cast<std::uint64_t>(seed);
    load += trained_load(biased, scratch / fmt::format("sign-{}", seed)) / 3;
  }
  EXPECT_LT(load, 0.6 * alone);
  biased.balance = {.bias = train::BiasUpdate::kQuantile};
  EXPECT_LT(trained_load(biased, scratch / "quantile"), 1.35);
  recipe.model.moe.balance_loss = 0.02;
  for (const auto scope : {nn::BalanceScope::kMicroBatch, nn::BalanceScope::kSequence,
                           nn::BalanceScope::kGlobalBatch}) {
    recipe.balance.scope = scope;
    EXPECT_LT(trained_load(recipe, scratch / "loss"), 0.85 * alone) << enum_name(scope);
  }
}

TEST(LmTask, ABiasToMoveMustBeThere) {
  EXPECT_TALPA_ERROR(config_from<LmRecipe>(Json{{"balance", {{"bias", "sign"}}}}), kConfig,
                     "model.moe.selection_bias = true");
}

TEST(LmTask, RecomputingChangesNoBit) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  std::vector<at::Tensor> weights;
  for (const bool recompute : {false, true}) {
    recipe.trainer.recompute = recompute;
    LmTask task(recipe);
    train::run_training(recipe.trainer, task, {.directory = scratch / "run"});
    fs::remove_all(scratch / "run");
    weights.push_back(task.parameters().at("embed").detach().clone());
  }
  EXPECT_TRUE(weights[0].equal(weights[1]));
}

TEST(LmTask, LogitsThatAreNotFiniteAreTheSpikeGuards) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  for (const bool recompute : {false, true}) {
    recipe.trainer.recompute = recompute;
    LmTask task(recipe);
    task.parameters().at("norm").data().fill_(std::numeric_limits<float>::quiet_NaN());
    task.parameters()
        .at("layers.1.moe.router")
        .data()
        .fill_(std::numeric_limits<float>::quiet_NaN());
    EXPECT_FALSE(std::isfinite(task.training_loss(0, 0).loss.item<float>())) << recompute;
  }
}

TEST(LmTask, DocumentsAreKeptApartWhenAsked) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  const double across = LmTask(recipe).evaluate().at("loss");
  recipe.data.document_mask = true;
  EXPECT_NE(LmTask(recipe).evaluate().at("loss"), across);
}

TEST(LmTask, ADeviceThatIsNotThereIsNamed) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  for (const char* device : {"abacus", "meta"}) {
    recipe.trainer.device = device;
    EXPECT_TALPA_ERROR(LmTask{recipe}, kConfig, fmt::format("trainer.device = {}", device));
  }
  if (at::hasCUDA()) return;
  recipe.trainer.device = "cuda";
  EXPECT_TALPA_ERROR(LmTask{recipe}, kConfig, "trainer.device = cuda: libtorch finds no CUDA");
}

/// Held-out loss after a few hundred steps.
double trained_loss(LmRecipe recipe, train::OptimizerKind kind, const fs::path& folder) {
  recipe.trainer.optimizer.kind = kind;
  recipe.trainer.steps = 200;
  recipe.trainer.eval_every = recipe.trainer.checkpoint_every = 0;
  LmTask task(recipe);
  return train::run_training(recipe.trainer, task, {.directory = folder}).at("loss");
}

/// At the same learning rate and decay: that is what the scale of Muon's updates is for.
TEST(LmTask, MuonLearnsAsFastAsAdamW) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  double adamw = 0, muon = 0;
  for (const std::uint64_t seed : {1, 2}) {
    recipe.seed = seed;
    adamw += trained_loss(recipe, train::OptimizerKind::kAdamW, scratch / "adamw") / 2;
    muon += trained_loss(recipe, train::OptimizerKind::kMuon, scratch / "muon") / 2;
  }
  EXPECT_LT(muon, adamw + 0.1) << "adamw " << adamw;
  EXPECT_LT(muon, 2);
}

TEST(LmTask, SameSeedSameLoss) {
  const testing::Scratch scratch;
  LmRecipe recipe = small_recipe(scratch.path());
  auto loss = [&] { return LmTask(recipe).training_loss(3, 0).loss.item<double>(); };
  const double first = loss();
  EXPECT_EQ(loss(), first);
  recipe.seed = 9;
  EXPECT_NE(loss(), first);
}

TEST(TokenStream, EndsDocumentsAndCountsBytes) {
  const testing::Scratch scratch;
  const LmRecipe recipe = small_recipe(scratch.path());
  const TokenStream stream(recipe.data.valid, scratch / "tokenizer" / "tokenizer.json", 0,
                           scratch / "cache");
  EXPECT_EQ(std::count(stream.ids().begin(), stream.ids().end(), 0), 40);
  EXPECT_EQ(stream.ids().back(), 0);
  EXPECT_GT(stream.num_bytes(), 40 * 40);
  const TokenStream cached(recipe.data.valid, scratch / "tokenizer" / "tokenizer.json", 0,
                           scratch / "cache");
  EXPECT_TRUE(std::ranges::equal(stream.ids(), cached.ids()));
}

TEST(TokenStream, BadLineIsNamed) {
  const testing::Scratch scratch;
  const LmRecipe recipe = small_recipe(scratch.path());
  write_text(scratch / "bad.jsonl", "{\"text\": \"fine\"}\n{\"txt\": 1}\n");
  EXPECT_TALPA_ERROR(TokenStream(scratch / "bad.jsonl", scratch / "tokenizer" / "tokenizer.json", 0,
                                 scratch / "cache"),
                     kFormat, "bad.jsonl:2");
}

TEST(WindowOrder, EveryWindowOnceAnEpochAndFromTheIndexAlone) {
  WindowOrder order(1001, 10, 5, "ids");
  ASSERT_EQ(order.num_windows(), 100);
  std::set<std::int64_t> first, second;
  std::vector<std::int64_t> sequence;
  for (int i = 0; i < 200; ++i) {
    sequence.push_back(order.start(i));
    (i < 100 ? first : second).insert(sequence.back());
  }
  EXPECT_EQ(first.size(), 100u);
  EXPECT_EQ(first, second);
  EXPECT_FALSE(std::equal(sequence.begin(), sequence.begin() + 100, sequence.begin() + 100));
  WindowOrder jumped(1001, 10, 5, "ids");
  EXPECT_EQ(jumped.start(150), sequence[150]);
  EXPECT_EQ(jumped.start(3), sequence[3]);
  EXPECT_TALPA_ERROR(WindowOrder(10, 10, 0, "ids"), kConfig,
                     "ids: 10 tokens are fewer than one window");
}

}  // namespace
}  // namespace talpa::lm
