#include "talpa/convert/calibrate.h"

#include <ATen/Parallel.h>

#include "talpa/base/output_path.h"
#include "talpa/base/processors.h"
#include "talpa/cli/laboratory/commands.h"
#include "talpa/cli/laboratory/sequences.h"
#include "talpa/cli/options.h"
#include "talpa/report/table.h"

namespace talpa::cli {

namespace {

struct CalibrateCommand : CommonOptions {
  std::string model, text, output;
  bool ids = false;
  std::uint64_t moment_mib = 1024;
  convert::CalibrateOptions calibrate;
};

void print_report(const convert::CalibrationReport& report, const std::string& output) {
  Table table({"layer", "rows an expert", "least", "most", "experts below 64", "unseen"});
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    const auto& rows = report.rows_LN[i];
    std::int64_t sum = 0, few = 0, unseen = 0;
    for (const std::int64_t count : rows) {
      sum += count;
      few += count < 64;
      unseen += count == 0;
    }
    const auto [least, most] = std::minmax_element(rows.begin(), rows.end());
    table.add_row({fmt::format("{}", report.layers[i]),
                   fmt::format("{}", sum / static_cast<std::int64_t>(rows.size())),
                   fmt::format("{}", *least), fmt::format("{}", *most), fmt::format("{}", few),
                   fmt::format("{}", unseen)});
  }
  print_data(
      fmt::format("{}\n{} tokens of {}, moments of inputs {}, of hidden activations {}, "
                  "{:.1f} s\n{}\n",
                  table.text(), report.description.tokens, report.description.text,
                  report.expert_inputs ? "expert by expert" : "of the layer",
                  report.full_hidden ? "in full" : "on the diagonal", report.seconds, output));
}

void run(const CalibrateCommand& command) {
  at::set_num_threads(command.threads > 0 ? command.threads : available_cores());
  for (const std::string& input : {command.model, command.text})
    check_not_input(command.output, input);
  const ModelFiles model = open_model(command.model);
  convert::CalibrateOptions options = command.calibrate;
  options.text = command.text;
  options.moment_bytes = command.moment_mib << 20;
  auto sequences = convert::sample_sequences(
      sequences_of(command.text, command.ids, options.context, command.model, model.config),
      options.tokens, options.seed);
  const auto report = convert::calibrate(model, std::move(sequences), command.output, options);
  if (command.json) return print_json(report.to_json());
  print_report(report, command.output);
}

}  // namespace

void setup_calibrate(CLI::App& app) {
  auto options = std::make_shared<CalibrateCommand>();
  convert::CalibrateOptions& calibrate = options->calibrate;
  app.add_option("MODEL", options->model, "Hugging Face directory or GGUF")->required();
  app.add_option("TEXT", options->text, "Plain text, JSONL with text, or ids")->required();
  app.add_option("-o,--output", options->output, "File to write")->type_name("FILE")->required();
  app.add_flag("--ids", options->ids, "TEXT holds raw little-endian ids, .u16 or .u32");
  app.add_option("--tokens", calibrate.tokens, "Tokens to read, in windows from all over TEXT")
      ->check(positive_number())
      ->capture_default_str()
      ->type_name("N");
  app.add_option("-c,--context", calibrate.context, "Tokens a window")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--seed", calibrate.seed, "Of the choice of windows")->capture_default_str();
  app.add_option("--moments", options->moment_mib,
                 "Keep an expert's own moments where a layer's take at most this, in fp64")
      ->capture_default_str()
      ->type_name("MIB");
  app.add_flag("--force", calibrate.overwrite, "Replace the file");
  add_threads_option(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
