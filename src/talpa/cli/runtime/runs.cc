#include "talpa/base/log.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/report/training_run.h"

namespace talpa::cli {

namespace {

struct RunsOptions : CommonOptions {
  std::string folder = "runs";
};

void list_runs(const RunsOptions& options) {
  const auto runs = find_training_runs(options.folder);
  if (options.json) return print_json(runs_json(runs));
  if (runs.empty()) return log::info("no runs in {}", options.folder);
  print_data(runs_table(runs).text());
}

}  // namespace

void setup_runs(CLI::App& app) {
  auto options = std::make_shared<RunsOptions>();
  app.add_option("DIR", options->folder, "Folder of runs")->type_name("DIR");
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, list_runs);
}

}  // namespace talpa::cli
