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
    if (poison_ != 0 && step == poisoned) loss = loss * poison_;
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
  std::int64_t poisoned = 5;

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

TEST(Trainer, AnEvaluationThatACheckpointPrecedesIsMadeOnce) {
  const testing::Scratch scratch;
  TrainerConfig config = config_of(60);
  config.eval_every = 15;
  auto evaluated = [&] {
    std::ifstream in(scratch / "run" / "metrics.jsonl");
    std::vector<std::int64_t> steps;
    for (std::string line; std::getline(in, line);)
      if (const Json row = Json::parse(line); row.contains("evaluation_seconds"))
        steps.push_back(row["step"]);
    return steps;
  };
  std::atomic<bool> stop{false};
  Regression first;
  first.on_step = [&](std::int64_t step) { stop = step == 29; };
  EXPECT_THROW(run_training(config, first, {.directory = scratch / "run", .stop = &stop}), Error);
  EXPECT_EQ(evaluated(), (std::vector<std::int64_t>{15}));
  for (int again = 0; again < 2; ++again) {
    Regression resumed;
    const auto metrics =
        run_training(config, resumed, {.directory = scratch / "run", .resume = true});
    EXPECT_EQ(metrics.count("loss"), 1U);
    EXPECT_EQ(evaluated(), (std::vector<std::int64_t>{15, 30, 45, 60}));
  }
}

TEST(Trainer, NotFiniteLossNamesTheStep) {
  const testing::Scratch scratch;
  Regression task(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TALPA_ERROR(run_training(config_of(60), task, {.directory = scratch / "run"}), kConfig,
                     "step 6");
}

TEST(Trainer, CheckpointOfAnotherModelIsRefused) {
  const testing::Scratch scratch;
  Regression task;
  AdamW optimizer(task.parameters(), {});
  SpikeGuard guard({});
  save_checkpoint(scratch.path(), 1, {task, optimizer, guard}, 1);
  Regression other;
  other.parameters()["extra"] = torch::zeros({2}).set_requires_grad(true);
  AdamW more({{"extra", torch::zeros({2})}}, {});
  EXPECT_TALPA_ERROR(load_checkpoint(*latest_checkpoint(scratch.path()), {task, more, guard}),
                     kNotFound, "extra/mean");
}

TEST(Trainer, SkipsASpikeAndNothingOfItRemains) {
  const testing::Scratch scratch;
  TrainerConfig config = config_of(60);
  config.schedule.kind = Schedule::kConstant;
  config.spike_guard = {.deviations = 8, .window = 20};
  Regression spiked(1e6F);
  spiked.poisoned = 50;
  const auto metrics = run_training(config, spiked, {.directory = scratch / "run"});
  EXPECT_LT(metrics.at("loss"), 1);
  const Json trainer =
      read_json(scratch / "run" / "checkpoints" / "step-00000060" / "trainer.json");
  EXPECT_EQ(trainer["spike_guard"]["skipped"], 1);
  EXPECT_EQ(trainer["optimizer_steps"], 59);
}

TEST(Trainer, AveragesAreEvaluatedSavedAndGoneOnWith) {
  const testing::Scratch scratch;
  TrainerConfig config = config_of(60);
  config.ema_decay = 0.9;
  Regression whole;
  const auto metrics = run_training(config, whole, {.directory = scratch / "whole"});
  EXPECT_NE(metrics.at("ema_loss"), metrics.at("loss"));
  std::atomic<bool> stop{false};
  Regression part;
  part.on_step = [&](std::int64_t step) { stop = step == 22; };
  EXPECT_THROW(run_training(config, part, {.directory = scratch / "part", .stop = &stop}), Error);
  Regression resumed;
  run_training(config, resumed, {.directory = scratch / "part", .resume = true});
  for (const char* name : {"final", "final-ema"})
    EXPECT_EQ(read_text(scratch / "whole" / name / "model.safetensors"),
              read_text(scratch / "part" / name / "model.safetensors"));
  EXPECT_NE(read_text(scratch / "whole" / "final" / "model.safetensors"),
            read_text(scratch / "whole" / "final-ema" / "model.safetensors"));
  config.ema_decay = 0;
  Regression without;
  run_training(config, without, {.directory = scratch / "whole", .resume = true});
  EXPECT_FALSE(fs::exists(scratch / "whole" / "final-ema"));
}

TEST(Trainer, LeftoversOfAKilledSaveAreRemoved) {
  const testing::Scratch scratch;
  const fs::path checkpoints = scratch / "run" / "checkpoints";
  fs::create_directories(checkpoints / ".step-00000007.partial-123");
  fs::create_directories(checkpoints / "step-00000009");
  fs::create_directories(checkpoints / "notes");
  Regression task;
  run_training(config_of(15), task, {.directory = scratch / "run", .resume = true});
  EXPECT_FALSE(fs::exists(checkpoints / ".step-00000007.partial-123"));
  EXPECT_FALSE(fs::exists(checkpoints / "step-00000009"));
  EXPECT_TRUE(fs::exists(checkpoints / "notes"));
}

TEST(Trainer, RowsSayWhereTimeWent) {
  const testing::Scratch scratch;
  TrainerConfig config = config_of(10);
  config.tensorboard = true;
  Regression task;
  run_training(config, task, {.directory = scratch / "run"});
  std::ifstream in(scratch / "run" / "metrics.jsonl");
  std::string line;
  std::getline(in, line);
  const Json row = Json::parse(line);
  for (const char* phase : {"data", "forward", "backward", "optimizer"})
    EXPECT_GE(row["step_seconds"][phase].get<double>(), 0) << phase;
  EXPECT_GT(row["peak_memory_bytes"], 1e6);
  EXPECT_FALSE(fs::is_empty(scratch / "run" / "tensorboard"));
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

TEST(Schedule, WsdStaysAndThenFallsAsOneMinusARoot) {
  const ScheduleConfig config{.kind = Schedule::kWsd,
                              .learning_rate = 1,
                              .warmup_steps = 10,
                              .min_ratio = 0,
                              .decay_share = 0.25};
  EXPECT_NEAR(learning_rate_at(config, 4, 200), 0.5, 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 10, 200), 1, 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 150, 200), 1, 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 150 + 12, 200), 1 - std::sqrt(12 / 50.0), 1e-12);
  EXPECT_NEAR(learning_rate_at(config, 200, 200), 0, 1e-12);
}

TEST(Schedule, LinearAndConstant) {
  ScheduleConfig config{
      .kind = Schedule::kLinear, .learning_rate = 1, .warmup_steps = 0, .min_ratio = 0.2};
  EXPECT_NEAR(learning_rate_at(config, 50, 100), 0.6, 1e-12);
  config.kind = Schedule::kConstant;
  EXPECT_NEAR(learning_rate_at(config, 99, 100), 1, 1e-12);
}

}  // namespace
}  // namespace talpa::train
