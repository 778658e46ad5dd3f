#include "talpa/train/trainer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <fstream>

#include "scratch.h"
#include "talpa/base/file.h"
#include "talpa/format/safetensors_writer.h"
#include "talpa/train/adamw.h"
#include "talpa/train/checkpoint.h"

namespace talpa::train {
namespace {

namespace fs = std::filesystem;

/// Linear regression whose batches depend on (step, micro-batch) only.
class Regression : public Task {
 public:
  explicit Regression(float poison = 0) : poison_(poison) {
    torch::manual_seed(1);
    parameters_["weight"] = torch::randn({4, 3}).set_requires_grad(true);
    parameters_["bias"] = torch::zeros({4}).set_requires_grad(true);
  }
  std::map<std::string, at::Tensor>& parameters() override { return parameters_; }

  LossResult training_loss(std::int64_t step, int micro) override {
    if (on_step) on_step(step);
    torch::manual_seed(static_cast<std::uint64_t>(100 + step * 7 + micro));
    const at::Tensor x = torch::randn({16, 3});
    const at::Tensor y = x.matmul(torch::arange(12.0).reshape({3, 4}) / 6) + 1;
    const at::Tensor error = x.matmul(parameters_["weight"].t()) + parameters_["bias"] - y;
    at::Tensor loss = error.square().mean();
    if (poison_ != 0 && step == 5) loss = loss * std::numeric_limits<float>::quiet_NaN();
    return {loss, 16, {}, {}};
  }
  std::map<std::string, double> evaluate() override {
    const torch::NoGradGuard no_grad;
    return {{"loss", training_loss(1'000'000, 0).loss.item<double>()}};
  }
  void save_model(const fs::path& path, DType) override {
    fs::create_directories(path);
    SafetensorsWriter writer(path / "model.safetensors",
                             {{"bias", DType::kF32, {4}}, {"weight", DType::kF32, {4, 3}}});
    for (const auto& [name, value] : parameters_)
      writer.write(name, {static_cast<const std::byte*>(value.const_data_ptr()), value.nbytes()});
    writer.finish();
  }
  void load_model(const fs::path& path) override {
    const auto store = open_safetensors(path / "model.safetensors");
    const torch::NoGradGuard no_grad;
    for (auto& [name, value] : parameters_)
      to_float(DType::kF32, store->at(name).bytes.data(), value.data_ptr<float>(), value.numel());
  }
  std::function<void(std::int64_t)> on_step;

 private:
  float poison_;
  std::map<std::string, at::Tensor> parameters_;
};

TrainerConfig config_of(std::int64_t steps) {
  TrainerConfig config;
  config.steps = steps;
  config.micro_batches = 2;
  config.log_every = 10;
  config.eval_every = 0;
  config.checkpoint_every = 15;
  config.threads = 1;
  config.schedule.learning_rate = 0.05;
  config.schedule.warmup_steps = 5;
  return config;
}

TEST(Trainer, LearnsAndWritesItsFolder) {
  const testing::Scratch scratch;
  Regression task;
  const double before = task.evaluate().at("loss");
  const auto metrics = run_training(config_of(200), task, {.directory = scratch / "run"});
  EXPECT_LT(metrics.at("loss"), before / 10);
  EXPECT_TRUE(fs::exists(scratch / "run" / "final" / "model.safetensors"));
  EXPECT_TRUE(fs::exists(scratch / "run" / "checkpoints" / "step-00000200"));
  EXPECT_FALSE(fs::exists(scratch / "run" / "checkpoints" / "step-00000150"));
  EXPECT_EQ(read_text(scratch / "run" / "checkpoints" / "latest"), "step-00000200\n");
}

TEST(Trainer, InterruptedRunGoesOnBitExactly) {
  const testing::Scratch scratch;
  Regression whole;
  run_training(config_of(60), whole, {.directory = scratch / "whole"});

  std::atomic<bool> stop{false};
  Regression part;
  part.on_step = [&](std::int64_t step) { stop = step == 22; };
  EXPECT_TALPA_ERROR(
      run_training(config_of(60), part, {.directory = scratch / "part", .stop = &stop}),
      kInterrupted, "stopped after step 23");
  Regression resumed;
  run_training(config_of(60), resumed, {.directory = scratch / "part", .resume = true});
  for (const char* name : {"weight", "bias"})
    EXPECT_TRUE(whole.parameters()[name].equal(resumed.parameters()[name])) << name;
  EXPECT_EQ(read_text(scratch / "whole" / "final" / "model.safetensors"),
            read_text(scratch / "part" / "final" / "model.safetensors"));
}

TEST(Trainer, MetricsBehindTheCheckpointAreDropped) {
  const testing::Scratch scratch;
  Regression first;
  std::atomic<bool> stop{false};
  // Dies at step 28, so that lines up to 20 and the checkpoint at 15 are there.
  first.on_step = [](std::int64_t step) {
    if (step == 28) throw Error(ErrorCode::kIo, "killed");
  };
  EXPECT_THROW(run_training(config_of(60), first, {.directory = scratch / "run"}), Error);
  Regression second;
  run_training(config_of(60), second, {.directory = scratch / "run", .resume = true});
  std::ifstream in(scratch / "run" / "metrics.jsonl");
  std::vector<std::int64_t> steps;
  for (std::string line; std::getline(in, line);) steps.push_back(Json::parse(line)["step"]);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{10, 20, 30, 40, 50, 60, 60}));
}

TEST(Trainer, NotFiniteLossNamesTheStep) {
  const testing::Scratch scratch;
  Regression task(1);
  EXPECT_TALPA_ERROR(run_training(config_of(60), task, {.directory = scratch / "run"}), kConfig,
                     "step 6");
}

TEST(Trainer, CheckpointOfAnotherModelIsRefused) {
  const testing::Scratch scratch;
  Regression task;
  AdamW optimizer(task.parameters(), {});
  save_checkpoint(scratch.path(), 1, task, optimizer, 1);
  Regression other;
  other.parameters()["extra"] = torch::zeros({2}).set_requires_grad(true);
  AdamW more({{"extra", torch::zeros({2})}}, {});
  EXPECT_TALPA_ERROR(load_checkpoint(*latest_checkpoint(scratch.path()), task, more), kNotFound,
                     "extra/mean");
}

TEST(AdamW, EqualsTorch) {
  torch::manual_seed(3);
  const at::Tensor start = torch::randn({5, 4});
  at::Tensor mine = start.clone().set_requires_grad(true);
  at::Tensor theirs = start.clone().set_requires_grad(true);
  AdamW optimizer({{"w", mine}}, {.weight_decay = 0.1});
  torch::optim::AdamW reference(
      {theirs}, torch::optim::AdamWOptions(0.01).betas({0.9, 0.95}).weight_decay(0.1));
  for (int step = 0; step < 20; ++step) {
    const at::Tensor target = torch::randn({5, 4});
    optimizer.zero_grad();
    reference.zero_grad();
    (mine - target).square().sum().backward();
    (theirs - target).square().sum().backward();
    optimizer.step(0.01);
    reference.step();
  }
  EXPECT_LT((mine - theirs).abs().max().item<float>(), 1e-5);
}

TEST(AdamW, ClipsTheGlobalNorm) {
  at::Tensor a = torch::zeros({2}).set_requires_grad(true),
             b = torch::zeros({1, 2}).set_requires_grad(true);
  AdamW optimizer({{"a", a}, {"b", b}}, {.clip_norm = 1});
  a.mutable_grad() = torch::tensor({3.0f, 0.0f});
  b.mutable_grad() = torch::tensor({{0.0f, 4.0f}});
  EXPECT_NEAR(optimizer.clip(), 5, 1e-6);
  EXPECT_NEAR(a.grad()[0].item<float>(), 0.6, 1e-6);
  EXPECT_NEAR(b.grad()[0][1].item<float>(), 0.8, 1e-6);
}

TEST(Schedule, WarmsUpAndFalls) {
  const ScheduleConfig config{.learning_rate = 1, .warmup_steps = 10, .min_ratio = 0.1};
  EXPECT_NEAR(learning_rate_at(config, 0, 110), 0.1, 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 9, 110), 1, 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 60, 110), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 110, 110), 0.1, 1e-12);
}

}  // namespace
}  // namespace talpa::train
