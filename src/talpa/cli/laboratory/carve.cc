#include "talpa/convert/carve.h"

#include <ATen/Parallel.h>

#include "talpa/base/output_path.h"
#include "talpa/base/threads.h"
#include "talpa/cli/laboratory/commands.h"
#include "talpa/cli/options.h"
#include "talpa/report/table.h"

namespace talpa::cli {

namespace {

struct CarveCommand : CommonOptions {
  std::string model, output;
  std::string by = "index";
  std::string dtype, tokenizer;
  bool all_on = false;
  convert::CarveOptions carve;
};

void print_carving(const convert::CarveReport& report, const std::string& output) {
  Table table({"layer", "gate rows explained"});
  for (std::size_t layer = 0; layer < report.explained.size(); ++layer)
    table.add_row({fmt::format("{}", layer), fmt::format("{:.4f}", report.explained[layer])});
  print_data(fmt::format("{}\n{} experts of {} neurons, by {}, all on; {}, {:.1f} s\n{}\n",
                         table.text(), report.num_experts, report.expert_dim,
                         enum_name(report.split), name_of(report.dtype), report.seconds, output));
}

void run_carve(const CarveCommand& command) {
  at::set_num_threads(command.threads > 0 ? command.threads : available_cores());
  convert::CarveOptions options = command.carve;
  read_config(Json(command.by), options.split, "--by");
  options.tokenizer = command.tokenizer;
  if (!command.dtype.empty()) {
    options.dtype = dtype_named(command.dtype);
    if (!options.dtype) fail(ErrorCode::kUsage, "--dtype {}: not a type", command.dtype);
  }
  check_not_input(command.output, command.model);
  const auto report = convert::carve_all_on(open_model(command.model), command.output, options);
  if (command.json) return print_json(report.to_json());
  print_carving(report, command.output);
}

}  // namespace

void setup_carve(CLI::App& app) {
  auto options = std::make_shared<CarveCommand>();
  app.add_option("MODEL", options->model, "Dense model: Hugging Face directory or GGUF")
      ->required();
  app.add_option("OUT", options->output, "Directory")->required();
  app.add_option("--experts", options->carve.num_experts, "Experts a layer, a power of two")
      ->type_name("N")
      ->required();
  app.add_flag("--all-on", options->all_on, "Every expert for every token: the same function")
      ->required();
  app.add_option("--by", options->by,
                 "index: neighbours make an expert; kmeans: neurons whose gate rows are alike")
      ->check(CLI::IsMember({"index", "kmeans"}));
  app.add_option("--seed", options->carve.seed, "Of the first centres of kmeans");
  app.add_option("--dtype", options->dtype,
                 "Type of the tensors written (default: one that rounds nothing)");
  app.add_option("--tokenizer", options->tokenizer,
                 "tokenizer.json or its directory (default: MODEL's)")
      ->type_name("PATH");
  app.add_flag("--force", options->carve.overwrite, "Replace OUT");
  add_threads_option(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run_carve);
}

}  // namespace talpa::cli
