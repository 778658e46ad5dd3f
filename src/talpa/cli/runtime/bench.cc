#include "talpa/base/log.h"
#include "talpa/base/memory.h"
#include "talpa/base/progress.h"
#include "talpa/base/threads.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/eval/bench_report.h"
#include "talpa/eval/bench_setup.h"

namespace talpa::cli {

namespace {

struct BenchCommandOptions : CommonOptions, ExpertOptions {
  std::string model, config;
  int layers = 0;
  int num_experts = 0;  ///< of the layer; 0 = as described
  bool layer = false, limits = false;
  std::vector<std::string> dtypes;
  std::vector<int> latent_dims;
  std::vector<std::string> factors = {"gate", "up"};
  LatentConfig latent;
  LayerBenchOptions layer_bench;
  ModelBenchOptions model_bench;
  int rounds = 5;
  std::vector<const CLI::Option*> of_model;  ///< that say nothing without a model
};

/// `percent` of what memory is free, or `unknown` where the system does not say.
std::uint64_t part_of_memory(std::uint64_t percent, std::uint64_t unknown) {
  const std::uint64_t available = memory_info().available;
  return available > 0 ? available / 100 * percent : unknown;
}

std::vector<DType> dtypes_of(const BenchCommandOptions& options) {
  std::vector<DType> dtypes;
  for (const std::string& name : options.dtypes) dtypes.push_back(*dtype_named(name));
  return dtypes;
}

std::vector<LatentConfig> latents_of(const BenchCommandOptions& options) {
  auto factored = [&](const char* name) {
    return std::find(options.factors.begin(), options.factors.end(), name) != options.factors.end();
  };
  std::vector<LatentConfig> latents;
  for (const int latent_dim : options.latent_dims) {
    LatentConfig& latent = latents.emplace_back(options.latent);
    latent.latent_dim = latent_dim;
    latent.factor_gate = factored("gate");
    latent.factor_up = factored("up");
    latent.factor_down = factored("down");
  }
  return latents;
}

void bench_one_layer(const BenchCommandOptions& options, ThreadPool& pool, LimitMeter& meter,
                     BenchReport& report, const DecoderConfig& config) {
  std::vector<LatentConfig> latents = latents_of(options);
  if (latents.empty() && config.moe.latent.enabled()) {
    int layer = 0;
    while (!config.is_moe_layer(layer)) ++layer;
    latents.push_back(config.moe.latent.of_layer(layer));
    if (!config.moe.latent.latent_dims.empty())
      log::info("layers have sizes of their own: timing layer {}", layer);
  }
  LayerBenchOptions bench = options.layer_bench;
  if (!options.dtypes.empty()) bench.dtypes = dtypes_of(options);
  bench.rounds = options.rounds;
  bench.memory = part_of_memory(50, bench.memory);
  bench.meter = &meter;
  bench.cancelled = &catch_interrupts();
  Progress progress("timing", num_layer_runs(latents.size(), bench));
  bench.progress = [&](std::int64_t done) { progress.update(done); };
  report.num_experts = config.moe.num_experts;
  report.layers = bench_layers(config, latents, pool, bench);
}

void bench_whole_models(const BenchCommandOptions& options, LimitMeter& meter, BenchReport& report,
                        const ModelSet& set) {
  ModelBenchOptions bench = options.model_bench;
  bench.rounds = options.rounds;
  bench.meter = &meter;
  bench.cancelled = &catch_interrupts();
  Progress progress("timing", static_cast<std::int64_t>(set.benched.size()) * bench.rounds);
  bench.progress = [&](std::int64_t done) { progress.update(done); };
  report.models = bench_models(set.benched, bench);
}

ModelSet load_models(const BenchCommandOptions& options) {
  std::vector<DType> dtypes = dtypes_of(options);
  const std::uint64_t memory = part_of_memory(90, ~std::uint64_t{0});
  EngineOptions engine{.threads = options.threads, .pin = options.pin};
  options.apply(engine);
  if (options.config.empty()) return stored_models(options.model, dtypes, engine, memory);
  std::vector<DecoderConfig> configs(1, published_config(options.config, options.layers));
  for (const LatentConfig& latent : latents_of(options))
    configs.emplace_back(configs.front()).moe.latent = latent;
  if (dtypes.empty()) dtypes.push_back(DType::kBF16);
  return random_models(options.config, configs, dtypes, engine, memory);
}

void print_report(const BenchCommandOptions& options, const BenchReport& report) {
  if (options.json) return print_json(to_json(report));
  print_data(to_text(report));
  if (report.layers.empty() && report.models.empty() && !options.limits)
    print_data(
        "\nThese are the machine's limits. `talpa bench MODEL` times a model against them, "
        "`talpa bench\n--config qwen3-30b-a3b --layer` one layer of a published shape.\n");
}

void check(const BenchCommandOptions& options) {
  constexpr int kRoundsOfRatios = 5;
  const bool from_disk = !options.model.empty();
  if (options.layer && !from_disk && options.config.empty())
    fail(ErrorCode::kUsage, "--layer: of which model? Expected MODEL or --config NAME");
  for (const CLI::Option* option : options.of_model)
    if (option->count() > 0 && !from_disk && options.config.empty())
      fail(ErrorCode::kUsage, "{}: of which model? Expected MODEL or --config NAME",
           option->get_name());
  if (options.latent_dims.empty()) return;
  if (from_disk && !options.layer)
    fail(ErrorCode::kUsage,
         "--latent-dim changes a model's shape: use --layer, or --config NAME with random weights");
  if (options.rounds < kRoundsOfRatios)
    fail(ErrorCode::kUsage, "--rounds {}: ratios of latent to dense experts need at least {}",
         options.rounds, kRoundsOfRatios);
}

void run(const BenchCommandOptions& options) {
  check(options);
  // Before anything is measured: what cannot be loaded should fail at once.
  DecoderConfig config;
  ModelSet set;
  const bool whole = !options.layer && !(options.model.empty() && options.config.empty());
  if (options.layer)
    config = options.config.empty() ? open_model(options.model).config
                                    : published_config(options.config);
  if (options.num_experts > 0) {
    config.moe.num_experts = options.num_experts;
    config.validate("--num-experts");
  }
  if (whole) set = load_models(options);
  catch_interrupts();
  ThreadPool pool = make_thread_pool(options.threads, options.pin);
  const LoadWatch watch;
  BenchReport report;
  LimitMeter meter(pool, {.free_memory = memory_info().available});
  report.limits = meter.best();
  stop_if_interrupted("interrupted");
  if (options.layer) bench_one_layer(options, pool, meter, report, config);
  if (whole) bench_whole_models(options, meter, report, set);
  report.meanwhile = meter.meanwhile();
  judge(report);
  report.load = watch.load();
  print_report(options, report);
}

void add_layer_options(CLI::App& app, BenchCommandOptions& options, CLI::Option* layer) {
  constexpr const char* kGroup = "One layer";
  app.add_option("--rows", options.layer_bench.rows, "Rows that pass through the layer together")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1 << 16))
      ->default_str("1,8,32,512")
      ->type_name("N,...")
      ->needs(layer)
      ->group(kGroup);
  app.add_option("--num-experts", options.num_experts,
                 "Experts of the layer, 0 = as many as the model has")
      ->check(no_negative_number())
      ->type_name("N")
      ->needs(layer)
      ->group(kGroup);
  CLI::Option* latent_dim =
      app.add_option("--latent-dim", options.latent_dims,
                     "Compare with experts through latents of these widths, random weights")
          ->delimiter(',')
          ->allow_extra_args(false)
          ->check(CLI::Range(1, 1 << 17))
          ->type_name("R,...")
          ->group(kGroup);
  options.of_model.push_back(latent_dim);
  app.add_option("--group-size", options.latent.group_size, "Experts that share a latent, 0 = all")
      ->check(no_negative_number())
      ->type_name("K")
      ->needs(latent_dim)
      ->group(kGroup);
  app.add_option("--factor", options.factors, "Matrices that go through latents, of gate,up,down")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"gate", "up", "down"}))
      ->default_str("gate,up")
      ->type_name("NAMES")
      ->needs(latent_dim)
      ->group(kGroup);
  app.add_flag("--share-gate-up", options.latent.share_gate_up_latent, "One latent for gate and up")
      ->needs(latent_dim)
      ->group(kGroup);
}

void add_model_options(CLI::App& app, BenchCommandOptions& options, CLI::Option* layer) {
  constexpr const char* kGroup = "Whole model";
  ModelBenchOptions& bench = options.model_bench;
  auto add = [&](const char* name, int& value, const char* help, int lowest) {
    options.of_model.push_back(app.add_option(name, value, help)
                                   ->check(CLI::Range(lowest, 1 << 20))
                                   ->type_name("N")
                                   ->excludes(layer)
                                   ->group(kGroup));
  };
  add("--prompt", bench.prompt_tokens, "Tokens of the prompt", 1);
  add("--decode", bench.decode_tokens, "Tokens decoded after it", 1);
  add("--batch", bench.batch, "Sequences at once", 1);
  add("--context", bench.context, "Tokens before the prompt", 0);
  for (CLI::Option* option : add_expert_options(app, options))
    options.of_model.push_back(option->excludes(layer)->group(kGroup));
}

}  // namespace

void setup_bench(CLI::App& app) {
  auto options = std::make_shared<BenchCommandOptions>();
  CLI::Option* model =
      app.add_option("MODEL", options->model, "Hugging Face directory or GGUF file; none: limits")
          ->type_name("MODEL");
  CLI::Option* config = app.add_option("--config", options->config,
                                       "A published shape with random weights instead, e.g. "
                                       "qwen3-30b-a3b")
                            ->type_name("NAME")
                            ->excludes(model);
  CLI::Option* layer =
      app.add_flag("--layer", options->layer, "Time the experts of one layer, with random weights");
  app.add_option("--layers", options->layers, "Only the first N layers of --config, 0 = all")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->needs(config)
      ->excludes(layer);
  app.add_flag("--limits", options->limits, "Measure the machine's limits only")
      ->excludes(model)
      ->excludes(config)
      ->excludes(layer);
  options->of_model = {
      app.add_option("--dtype", options->dtypes,
                     "Types to hold weights in (default: as stored; random weights bf16)")
          ->delimiter(',')
          ->allow_extra_args(false)
          ->check(CLI::IsMember({"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"}))
          ->type_name("TYPES"),
      app.add_option("--rounds", options->rounds, "Timed rounds; medians are reported")
          ->check(CLI::Range(1, 1000))
          ->type_name("N")};
  add_layer_options(app, *options, layer);
  add_model_options(app, *options, layer);
  add_engine_threads_options(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
