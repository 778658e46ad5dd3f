#include "talpa/convert/convert.h"

#include <ATen/Parallel.h>

#include "talpa/base/log.h"
#include "talpa/base/threads.h"
#include "talpa/cli/laboratory/commands.h"
#include "talpa/cli/options.h"
#include "talpa/convert/method.h"

namespace talpa::cli {

namespace {

struct ConvertCommand : CommonOptions {
  std::string model, output;
  std::string to;
  std::string factor = "gate,up";
  std::string dtype = "bf16";
  bool list_methods = false;
  convert::ConvertOptions convert;
};

DType dtype_of(const std::string& name) {
  const auto dtype = dtype_named(name);
  if (!dtype) fail(ErrorCode::kUsage, "--dtype {}: not a type", name);
  return *dtype;
}

void set_factors(const std::string& list, LatentConfig& latent) {
  latent.factor_gate = latent.factor_up = latent.factor_down = false;
  std::string_view rest = list;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view name = rest.substr(0, comma);
    if (name == "gate")
      latent.factor_gate = true;
    else if (name == "up")
      latent.factor_up = true;
    else if (name == "down")
      latent.factor_down = true;
    else
      fail(ErrorCode::kUsage, "--factor {}: expected gate, up and down, not '{}'", list, name);
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
  }
}

void print_report(const convert::ConversionReport& report, const std::string& output) {
  std::string out = fmt::format("{:>5}  {:<10}  {:>14}  {:>8}\n", "layer", "projection",
                                "relative error", "seconds");
  for (const auto& row : report.projections)
    out += fmt::format("{:>5}  {:<10}  {:>14.4f}  {:>8.2f}\n", row.layer, row.projection,
                       row.relative_error, row.seconds);
  out += fmt::format(
      "\n{}: latent width {}, experts {:.2f} M -> {:.2f} M parameters ({:.1f} %), relative error "
      "{:.4f}, {:.1f} s\n{}\n",
      report.method, report.latent.latent_dim,
      static_cast<double>(report.expert_params_before) / 1e6,
      static_cast<double>(report.expert_params_after) / 1e6, report.expert_share * 100,
      report.relative_error, report.seconds, output);
  print_data(out);
}

void write_gguf(const ModelFiles& model, const ConvertCommand& options) {
  const bool latent = model.config.moe.latent.enabled();
  GgufSaveOptions save;
  save.dtype = dtype_of(options.dtype);
  save.overwrite = options.convert.overwrite;
  if (model.format == "hf") save.tokenizer_from = model.path;
  const WeightProvider plain = [&](const WeightSpec& spec, float* target) {
    model.at(spec.name).read(target);
  };
  save_gguf(options.output, latent ? convert::materialised_config(model.config) : model.config,
            latent ? convert::materialising_provider(model) : plain, save);
}

void list_methods() {
  std::string out;
  for (const convert::Method* method : convert::methods())
    out += fmt::format("{:<10} {}\n", method->name(), method->summary());
  print_data(out);
}

/// What OUT is to be when --to does not say: by its ending, else latent experts.
std::string target_of(const ConvertCommand& options) {
  if (!options.to.empty()) return options.to;
  return options.output.ends_with(".gguf") ? "gguf" : "mole";
}

void run(const ConvertCommand& command) {
  if (command.list_methods) return list_methods();
  if (command.model.empty() || command.output.empty())
    fail(ErrorCode::kUsage, "convert needs MODEL and OUT");
  at::set_num_threads(command.threads > 0 ? command.threads : available_cores());
  convert::ConvertOptions options = command.convert;
  options.dtype = dtype_of(command.dtype);
  set_factors(command.factor, options.latent);
  const ModelFiles model = open_model(command.model);
  const std::string target = target_of(command);
  if (target == "gguf") {
    write_gguf(model, command);
  } else if (target == "dense") {
    convert::materialise(model, command.output, options.dtype, options.overwrite);
  } else if (target == "mole") {
    const auto report = convert::convert_to_latent(model, command.output, options);
    if (command.json) return print_json(report.to_json());
    return print_report(report, command.output);
  } else {
    fail(ErrorCode::kUsage, "--to {}: expected mole, dense or gguf", target);
  }
  if (command.json) return print_json({{"output", command.output}});
  print_data(command.output + "\n");
}

void add_latent_options(CLI::App& app, ConvertCommand& options) {
  constexpr const char* kGroup = "Latent experts";
  LatentConfig& latent = options.convert.latent;
  app.add_option("--method", options.convert.method, "How factors are found")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--budget", options.convert.budget,
                 "Share of the experts' parameters that may be kept, e.g. 0.75")
      ->group(kGroup);
  app.add_option("--latent-dim", latent.latent_dim, "Latent width, instead of a budget")
      ->group(kGroup);
  app.add_option("--group-size", latent.group_size, "Experts that share a latent, 0 = all")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--factor", options.factor, "Which projections go through a latent")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--share-gate-up", latent.share_gate_up_latent, "One latent for gate and up")
      ->group(kGroup);
  app.add_option("--reduce-rank", options.convert.reduce_rank,
                 "First phase: cut every expert to this rank before stacking, 0 = skip")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--materialize", options.convert.materialise,
               "Write dense experts under the original architecture")
      ->group(kGroup);
  app.add_flag("--list-methods", options.list_methods, "Print the methods and stop")->group(kGroup);
}

}  // namespace

void setup_convert(CLI::App& app) {
  auto options = std::make_shared<ConvertCommand>();
  app.add_option("MODEL", options->model, "Hugging Face directory or GGUF");
  app.add_option("OUT", options->output, "Directory, or FILE.gguf");
  app.add_option("--to", options->to,
                 "mole: latent experts; dense: experts written out; gguf (default: by OUT's name)")
      ->type_name("KIND");
  app.add_option("--dtype", options->dtype, "Type of the tensors written")->capture_default_str();
  app.add_flag("--force", options->convert.overwrite, "Replace OUT");
  add_latent_options(app, *options);
  add_threads_option(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
