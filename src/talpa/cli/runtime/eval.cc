#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/cli/text_options.h"
#include "talpa/eval/expert_report.h"
#include "talpa/report/table.h"

namespace talpa::cli {

namespace {

struct EvalPplOptions : CommonOptions, ModelOptions, TextOptions {};

/// One window alone has no error.
std::string with_error(double value, double error, int digits) {
  std::string text = fmt::format("{:.{}f}", value, digits);
  if (std::isfinite(error)) text += fmt::format(" ± {:.{}f}", error, digits);
  return text;
}

std::vector<std::string> loss_row(const std::string& name, const TextLoss& loss) {
  const auto bits = loss.bits_per_byte();
  return {name, with_error(loss.perplexity(), loss.perplexity_error(), 3),
          with_error(loss.mean_nll, loss.nll_error, 4), bits ? fmt::format("{:.4f}", *bits) : "-",
          fmt::format("{}", loss.tokens)};
}

std::string table_of(const PerplexityResult& result) {
  Table table({"text", "perplexity", "nats/token", "bits/byte", "tokens"});
  for (const TextLoss& domain : result.domains)
    table.add_row(loss_row(domain.domain.empty() ? "(none)" : domain.domain, domain));
  table.add_row(loss_row("all", result.all));
  return table.text();
}

void run(const EvalPplOptions& options) {
  const LoadedModel loaded = load_model(options.model, engine_options(options, options));
  const ScoringText text = scoring_text(options, loaded);
  Progress progress("scoring", tokens_fed(text.windows));
  ScoreOptions score{.batch = options.batch, .cancelled = &catch_interrupts()};
  score.progress = [&](std::int64_t done) { progress.update(done); };
  const PerplexityResult result = measure_perplexity(*loaded.model, text, score);
  progress.finish();
  if (options.json) {
    Json json = to_json(result);
    json["model"] = options.model;
    json["dtype"] = options.dtype.empty() ? "stored" : options.dtype;
    json["file"] = options.file;
    json["context"] = options.windows.context;
    json["stride"] = options.windows.stride > 0 ? options.windows.stride : options.windows.context;
    json["convention"] = options.convention;
    json["experts"] = enum_name(loaded.model->expert_form());
    json["expert_cache"] = to_json(loaded.model->expert_cache());
    return print_json(json);
  }
  print_data(table_of(result));
  log::info("{} windows of {} tokens in {:.1f} s, {:.0f} tok/s", result.windows,
            options.windows.context, result.seconds, result.tokens_per_second());
  if (const auto cache = loaded.model->expert_cache()) log::info("{}", describe(*cache));
}

}  // namespace

void setup_eval(CLI::App& app) {
  app.require_subcommand(1);
  CLI::App& ppl = *app.add_subcommand("ppl", "Perplexity of a model on a text");
  auto options = std::make_shared<EvalPplOptions>();
  add_model_argument(ppl, *options);
  add_text_options(ppl, *options, "-f,--file");
  add_dtype_option(ppl, *options);
  add_engine_threads_options(ppl, *options);
  add_json_option(ppl, *options);
  add_log_options(ppl, *options);
  on_run(ppl, options, run);
}

}  // namespace talpa::cli
