#include "talpa/eval/compare.h"

#include <fmt/ranges.h>

#include "talpa/base/cpu.h"
#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/cli/app.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/cli/text_options.h"
#include "talpa/eval/compare_report.h"

namespace talpa::cli {

namespace {

struct CompareCommandOptions : CommonOptions, TextOptions {
  std::vector<std::string> models;
  std::string dtype;
  std::vector<std::string> quantise;
  std::string html;
  std::string title;
  bool no_speed = false;
  SpeedOptions speed;
};

/// Models in the order of the report: the first, its quantised forms, the others.
std::vector<CompareSpec> specs_of(const CompareCommandOptions& options) {
  std::vector<CompareSpec> specs;
  for (const std::string& model : options.models) {
    CompareSpec spec = parse_compare_spec(model);
    if (spec.dtype)
      held_dtype(name_of(*spec.dtype));
    else
      spec.dtype = held_dtype(options.dtype);
    specs.push_back(std::move(spec));
  }
  const auto first = specs.front();
  std::size_t place = 1;
  for (const std::string& name : options.quantise)
    specs.insert(specs.begin() + static_cast<std::ptrdiff_t>(place++),
                 {.path = first.path, .dtype = held_dtype(name)});
  if (specs.size() < 2)
    fail(ErrorCode::kUsage, "there is nothing to compare {} with; name another model or --quantise",
         options.models.front());
  return specs;
}

ComparePage page_of(const CompareCommandOptions& options, const Comparison& comparison) {
  return {.title = options.title.empty()
                       ? fmt::format("{} and {} other models compared", comparison.rows[0].name,
                                     comparison.rows.size() - 1)
                       : options.title,
          .command = command_line(),
          .facts = {{"text", fmt::format("{}, {} tokens in {} windows of {}", options.file,
                                         comparison.rows[0].scores.loss.tokens, comparison.windows,
                                         options.windows.context)},
                    {"machine", cpu_features().model},
                    {"instructions", fmt::format("{}", fmt::join(cpu_feature_names(), " "))},
                    {"threads", std::to_string(comparison.threads)},
                    {"talpa", version()}}};
}

Comparison measure(const CompareCommandOptions& options) {
  const std::vector<CompareSpec> specs = specs_of(options);
  const std::vector<LoadedModel> loaded = load_models(specs, options.threads, options.pin);
  const ScoringText text = scoring_text(options, loaded.front());
  const auto& cancelled = catch_interrupts();
  Progress scoring("scoring", tokens_fed(text.windows));
  std::optional<Progress> timing;
  CompareOptions compare;
  compare.score.batch = options.batch;
  compare.score.cancelled = &cancelled;
  compare.speed = options.speed;
  compare.measure_speed = !options.no_speed;
  compare.score.progress = [&](std::int64_t done) { scoring.update(done); };
  compare.speed.cancelled = &cancelled;
  compare.speed.progress = [&](std::int64_t done) {
    if (!timing) {
      scoring.finish();
      timing.emplace("timing", static_cast<std::int64_t>(specs.size()) * options.speed.rounds);
    }
    timing->update(done);
  };
  return compare_models(specs, loaded, text, compare);
}

void print(const CompareCommandOptions& options, const Comparison& comparison) {
  if (options.json) return print_json(to_json(comparison));
  print_data(quality_table(comparison).text() + "\n" + cost_table(comparison).text());
  if (!comparison.rows[0].scores.domains.empty())
    print_data("\n" + domain_table(comparison).text());
  if (!options.no_speed)
    print_data("prefill and decode: tokens a core-second, medians of runs taken in turn\n");
}

void run(const CompareCommandOptions& options) {
  const Comparison comparison = measure(options);
  print(options, comparison);
  if (options.html.empty()) return;
  write_text(options.html, compare_html(comparison, page_of(options, comparison)));
  log::info("report: {}", options.html);
}

void add_speed_options(CLI::App& app, CompareCommandOptions& options) {
  constexpr const char* kGroup = "Speed";
  app.add_flag("--no-speed", options.no_speed, "Do not time the models")->group(kGroup);
  app.add_option("--speed-prompt", options.speed.prompt_tokens, "Prompt tokens of a timed run")
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--speed-decode", options.speed.decode_tokens, "Decoded tokens of a timed run")
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--speed-rounds", options.speed.rounds, "Timed runs of each model")
      ->check(CLI::Range(1, 1000))
      ->type_name("N")
      ->group(kGroup);
}

}  // namespace

void setup_compare(CLI::App& app) {
  auto options = std::make_shared<CompareCommandOptions>();
  app.add_option("MODELS", options->models,
                 "The first is compared with the others; MODEL@q8_0 holds MODEL in Q8_0")
      ->type_name("MODEL")
      ->required();
  add_text_options(app, *options, "-f,--text");
  app.add_option("--dtype", options->dtype, "Type to hold weights in (default: as stored)")
      ->check(CLI::IsMember({"f32", "bf16", "q8_0", "q4_0", "q4_1"}));
  app.add_option("--quantise", options->quantise, "Also the first model in these types, q8_0,q4_0")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("TYPES");
  app.add_option("--html", options->html, "Write a page with plots to FILE")->type_name("FILE");
  app.add_option("--title", options->title, "Title of the page");
  add_speed_options(app, *options);
  add_engine_threads_options(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
