#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/report/training_run.h"

namespace talpa::cli {

namespace {

struct PlotRunsOptions : CommonOptions {
  std::vector<std::string> runs;
  std::string output;
};

void plot_runs(const PlotRunsOptions& options) {
  std::vector<TrainingRun> runs;
  for (const std::string& path : options.runs) {
    runs.push_back(read_training_run(path));
    if (runs.back().rows.empty()) log::warn("{} has no numbers yet", path);
  }
  const bool page = !options.output.ends_with(".svg");
  write_text(options.output, page ? runs_html(runs) : held_out_svg(runs));
  log::info("{}: {}", page ? "page" : "figure", options.output);
}

}  // namespace

void setup_plot(CLI::App& app) {
  auto options = std::make_shared<PlotRunsOptions>();
  app.add_option("RUNS", options->runs, "Run folders of talpa train")->type_name("RUN")->required();
  app.add_option("-o,--output", options->output, "Page to write, or FILE.svg: the held-out loss")
      ->type_name("FILE")
      ->required();
  add_log_options(app, *options);
  on_run(app, options, plot_runs);
}

}  // namespace talpa::cli
