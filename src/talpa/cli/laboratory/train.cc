#include <malloc.h>

#include <algorithm>
#include <csignal>
#include <limits>
#include <optional>
#include <set>

#include "talpa/base/cpu.h"
#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/base/threads.h"
#include "talpa/cli/app.h"
#include "talpa/cli/config_options.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/laboratory/commands.h"
#include "talpa/collective/mesh.h"
#include "talpa/kernel/limits.h"
#include "talpa/model/accounting.h"
#include "talpa/report/table.h"
#include "talpa/task/lm/lm_task.h"
#include "talpa/train/checkpoint.h"
#include "talpa/train/environment.h"

namespace talpa::cli {

namespace fs = std::filesystem;

namespace {

struct TrainOptions : CommonOptions, ConfigOptions {
  std::string output;
  bool resume = false;
  bool force = false;
};

fs::path run_folder(const TrainOptions& options, const lm::LmRecipe& recipe) {
  return options.output.empty() ? fs::path("runs") / recipe.name : fs::path(options.output);
}

bool holds_run(const fs::path& folder) { return fs::exists(folder / "env.json"); }

/// The folder stays: it is what the lock is on.
void remove_run(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename() != "env.json") fs::remove_all(entry.path());
  fs::remove(folder / "env.json");
}

/// What a run is made of; names of half-written files begin with a dot.
bool is_of_run(const std::string& name) {
  static const std::set<std::string> kParts = {"env.json",    "config.json", "metrics.jsonl",
                                               "checkpoints", "final",       "final-ema",
                                               "tensorboard"};
  return kParts.contains(name) || name.starts_with(".");
}

/// An earlier run is gone on with or given up only when asked; other files are never touched.
void check_folder(const fs::path& folder, const TrainOptions& options) {
  if (fs::exists(folder) && !holds_run(folder) && !fs::is_empty(folder))
    fail(ErrorCode::kUsage, "{} holds files that are not a run's; choose another folder",
         folder.string());
  if (holds_run(folder) && !options.resume && !options.force)
    fail(ErrorCode::kUsage, "{} holds a run already; --resume goes on, --force starts anew",
         folder.string());
  if (!holds_run(folder) || options.resume) return;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const std::string name = entry.path().filename().string(); !is_of_run(name))
      fail(ErrorCode::kUsage, "{} holds {}, which is not a run's; choose another folder",
           folder.string(), name);
}

/// A resumed run must do the same work; how long, how often and where it saves may change.
void check_same_work(const fs::path& folder, const lm::LmRecipe& recipe) {
  const fs::path path = folder / "config.json";
  if (!fs::exists(path)) return;
  const auto old = config_from<lm::LmRecipe>(read_json(path));
  std::vector<std::string> changed;
  const auto note = [&](const char* name, bool same) {
    if (!same) changed.push_back(name);
  };
  note("model", old.model == recipe.model);
  note("data", old.data == recipe.data);
  note("seed", old.seed == recipe.seed);
  note("initial_scale", old.initial_scale == recipe.initial_scale);
  note("balance", old.balance == recipe.balance);
  note("trainer.micro_batches", old.trainer.micro_batches == recipe.trainer.micro_batches);
  note("trainer.optimizer.kind", old.trainer.optimizer.kind == recipe.trainer.optimizer.kind);
  if (changed.empty()) return;
  fail(ErrorCode::kConfig, "{} has another {} than the recipe; use another folder", path.string(),
       fmt::join(changed, ", "));
}

/// Of the run in `folder`, whose files may have changed since.
void check_same_data(const fs::path& folder, const Json& keys) {
  const fs::path path = folder / "env.json";
  if (!fs::exists(path)) return;
  const Json old = read_json(path);
  if (!old.is_object() || !old.contains("data") || old["data"] == keys) return;
  fail(ErrorCode::kConfig,
       "{} was begun with {}; text and tokenizer of the recipe's paths are now {}; use another "
       "folder",
       folder.string(), old["data"].dump(), keys.dump());
}

void describe(const lm::LmRecipe& recipe) {
  const Account account = account_of(recipe.model);
  const double tokens = static_cast<double>(recipe.trainer.steps) * recipe.trainer.micro_batches *
                        recipe.data.batch_size * recipe.data.sequence_length;
  log::info("{}: {:.2f} M parameters ({:.2f} M active), {:.1f} M tokens, {:.1f} a parameter",
            recipe.name, static_cast<double>(account.total_params) / 1e6,
            static_cast<double>(account.active_params) / 1e6, tokens / 1e6,
            tokens / static_cast<double>(account.total_params));
}

/// Bytes of weights, gradients, the optimiser's state and averages, which are all of fp32.
double state_bytes(const lm::LmRecipe& recipe) {
  const double copies = (recipe.trainer.optimizer.kind == train::OptimizerKind::kMuon ? 3 : 4) +
                        (recipe.trainer.ema_decay > 0 ? 1 : 0);
  return 4 * copies * static_cast<double>(account_of(recipe.model).total_params);
}

/// What the run would take, from a few steps that nothing is kept of.
void estimate(const TrainOptions& options, const lm::LmRecipe& recipe, lm::LmTask& task) {
  constexpr int kSteps = 3;
  const Account account = account_of(recipe.model);
  const train::StepEstimate step = train::time_steps(recipe.trainer, task, kSteps);
  const double steps = static_cast<double>(recipe.trainer.steps);
  const Json report{{"name", recipe.name},
                    {"parameters", account.total_params},
                    {"non_embedding_parameters", account.total_params - account.embedding_params},
                    {"active_parameters", account.active_params},
                    {"macs_per_token", account.macs_per_token},
                    {"flops_per_token", task.flops_per_token()},
                    {"steps", recipe.trainer.steps},
                    {"tokens", steps * static_cast<double>(step.tokens)},
                    {"state_bytes", state_bytes(recipe)},
                    {"peak_memory_bytes", step.peak_memory_bytes},
                    {"seconds_per_step", step.seconds},
                    {"tokens_per_second", static_cast<double>(step.tokens) / step.seconds},
                    {"seconds", steps * step.seconds}};
  if (options.json) return print_json(report);
  print_data(fmt::format(
      "parameters     {}, {} without embeddings, {} active\n"
      "a token        {} multiply-adds forward, {} operations in all\n"
      "tokens         {} in {} steps\n"
      "memory         {} (weights, gradients, optimiser {})\n"
      "time           {} at {:.0f} tokens/s, by {} steps, without evaluations\n",
      format_count(static_cast<double>(account.total_params)),
      format_count(static_cast<double>(account.total_params - account.embedding_params)),
      format_count(static_cast<double>(account.active_params)),
      format_count(account.macs_per_token), format_count(task.flops_per_token()),
      format_count(steps * static_cast<double>(step.tokens)), recipe.trainer.steps,
      format_bytes(step.peak_memory_bytes), format_bytes(state_bytes(recipe)),
      format_duration(steps * step.seconds), static_cast<double>(step.tokens) / step.seconds,
      kSteps));
}

/// Only when the recipe and its data are known to be sound. env.json goes last and comes first, for
/// it is what makes a folder a run's.
void begin_run(const fs::path& folder, const TrainOptions& options, const lm::LmRecipe& recipe,
               const Json& environment) {
  if (!options.resume) remove_run(folder);
  write_text(folder / "env.json", environment.dump(2) + "\n");
  write_text(folder / "config.json", config_to_json(recipe).dump(2) + "\n");
}

/// What MFU is a share of: as the recipe states it, or what this CPU's multiply-adds reach, of all
/// processes together.
double peak_flops(const lm::LmRecipe& recipe, collective::Mesh* mesh) {
  if (recipe.trainer.peak_flops > 0 || recipe.trainer.device != "cpu")
    return recipe.trainer.peak_flops;
  ThreadPool pool(recipe.trainer.threads > 0 ? recipe.trainer.threads : available_cores());
  double limit = fp32_limit(pool);
  if (mesh != nullptr) mesh->world().sum(std::span(&limit, 1));
  return limit;
}

/// What a step gives back the next one asks for again: it stays with the process.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

void train(const TrainOptions& options, const lm::LmRecipe& recipe, collective::Mesh* mesh) {
  keep_freed_memory();
  const bool first = mesh == nullptr || mesh->world().is_first();
  const fs::path folder = run_folder(options, recipe);
  if (first) check_folder(folder, options);
  if (options.resume) check_same_work(folder, recipe);
  // The first encodes the corpus, where that is not done, and the others read what it wrote.
  if (!first) mesh->world().barrier();
  lm::LmTask task(recipe, mesh);
  if (first && mesh != nullptr) mesh->world().barrier();
  if (first && options.resume) check_same_data(folder, task.data_keys());
  Json environment = train::environment();
  environment["data"] = task.data_keys();
  environment["talpa"] = version();
  environment["peak_flops"] = peak_flops(recipe, mesh);
  if (mesh != nullptr) environment["processes"] = mesh->world().size();
  std::optional<DirectoryLock> lock;
  if (first) {
    fs::create_directories(folder);
    lock.emplace(folder);
    check_folder(folder, options);  // others may have written there while the corpus was encoded
    begin_run(folder, options, recipe, environment);
  }
  const auto metrics = train::run_training(recipe.trainer, task,
                                           {.directory = folder,
                                            .resume = options.resume,
                                            .stop = &catch_interrupts(),
                                            .peak_flops = environment["peak_flops"],
                                            .mesh = mesh});
  if (mesh != nullptr) mesh->close();
  log::info("model in {}", (folder / "final").string());
  if (options.json && first) print_json({{"run", folder.string()}, {"metrics", metrics}});
}

/// Tells beside what went wrong how to go on, where there is a checkpoint to go on from.
[[noreturn]] void fail_resumable(const Error& error, const fs::path& folder) {
  const auto newest = train::latest_checkpoint(folder / "checkpoints");
  if (!newest) throw error;
  fail(error.code(), "{}; --resume goes on from {}", error.what(), newest->string());
}

void train_alone(const TrainOptions& options, const lm::LmRecipe& recipe) try {
  train(options, recipe, nullptr);
} catch (const Error& error) {
  if (error.code() != ErrorCode::kIo) throw;
  fail_resumable(error, run_folder(options, recipe));
}

/// The same work on all processes: as many threads as the least of them has, and one recipe.
void agree(lm::LmRecipe& recipe, collective::Mesh& mesh) {
  for (const std::string& threads :
       mesh.world().gather_text(std::to_string(recipe.trainer.threads)))
    recipe.trainer.threads = std::min(recipe.trainer.threads, std::stoi(threads));
  const auto recipes = mesh.world().gather_text(config_to_json(recipe).dump());
  for (std::size_t rank = 1; rank < recipes.size(); ++rank)
    if (recipes[rank] != recipes[0])
      fail(ErrorCode::kConfig, "rank {} has another recipe or other --set than rank 0", rank);
}

/// As one of several processes: the others learn why this one ends.
void train_together(const TrainOptions& options, lm::LmRecipe recipe,
                    const collective::Rendezvous& place) {
  // A message to a process that has just ended is an error to be named, not the end of this one.
  std::signal(SIGPIPE, SIG_IGN);
  collective::Mesh mesh(place, recipe.trainer.device, recipe.trainer.distribution.expert_parallel);
  try {
    agree(recipe, mesh);
    train(options, recipe, &mesh);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInterrupted) mesh.close();
    mesh.world().announce_failure(error.what());
    if (!mesh.world().is_broken()) throw;
    fail_resumable(error, run_folder(options, recipe));
  } catch (const std::exception& error) {
    mesh.world().announce_failure(error.what());
    throw;
  }
}

void validate(const TrainOptions& options, const lm::LmRecipe& recipe) try {
  recipe.model.validate("model");
  recipe.data.validate("data");
} catch (const Error& error) {
  if (options.recipe.empty()) throw;
  fail(error.code(), "{}: {}", options.recipe, error.what());
}

void run(const TrainOptions& options) {
  auto recipe = configured<lm::LmRecipe>(options);
  if (options.threads > 0) recipe.trainer.threads = options.threads;
  if (print_configuration(options, recipe)) return;
  if (options.recipe.empty() && options.settings.empty())
    fail(ErrorCode::kUsage, "RECIPE is required; --print-config prints one to begin with");
  validate(options, recipe);
  const auto place = collective::rendezvous_from_environment();
  if (place && recipe.trainer.threads == 0)
    recipe.trainer.threads = std::max(1, available_cores() / place->local_size);
  if (place && place->rank > 0) start_log({.quiet = true});
  // What the family's files cannot express is to fail now, not at the first checkpoint.
  to_hf_config(recipe.model, DType::kBF16);
  describe(recipe);
  if (options.dry_run) {
    lm::LmTask task(recipe);
    return estimate(options, recipe, task);
  }

  if (!place && recipe.trainer.distribution != train::DistributionConfig{})
    log::warn("trainer.distribution is ignored: this is one process (talpa launch starts several)");
  if (!place) return train_alone(options, recipe);
  train_together(options, recipe, *place);
}

}  // namespace

void setup_train(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  add_config_options<lm::LmRecipe>(app, *options);
  app.add_option("-o,--output", options->output, "Run folder (default: runs/NAME)")
      ->type_name("DIR");
  app.add_flag("--resume", options->resume, "Go on from the newest checkpoint");
  app.add_flag("--force", options->force, "Remove an earlier run in the folder");
  add_threads_option(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
