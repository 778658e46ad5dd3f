#include "talpa/convert/convert.h"

#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/output_path.h"
#include "talpa/base/temporary_folder.h"
#include "talpa/base/threads.h"
#include "talpa/cli/interrupt.h"
#include "talpa/cli/laboratory/commands.h"
#include "talpa/cli/laboratory/gguf_output.h"
#include "talpa/cli/laboratory/sequences.h"
#include "talpa/cli/options.h"
#include "talpa/cli/text_options.h"
#include "talpa/convert/calibrate.h"
#include "talpa/convert/method.h"
#include "talpa/model/model_folder.h"
#include "talpa/report/table.h"
#include "talpa/search/auto_convert.h"

namespace talpa::cli {

namespace {

struct ConvertCommand : CommonOptions {
  std::string model, output;
  std::string method;  ///< empty: svd, and a GGUF is written without converting
  std::string to;
  std::string factor;
  std::string group_by = "order";
  std::string dtype = "bf16";
  bool list_methods = false;
  GgufOutput gguf;
  convert::ConvertOptions convert;
  TextOptions text;  ///< auto: what conversions are judged by; refit: what is read
  convert::DistilOptions refit{.steps = 0};
  std::int64_t refit_tokens = 65536;
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
  std::vector<std::string> header = {"layer", "projection", "relative error"};
  if (report.weighted_error) header.emplace_back("weighted error");
  header.emplace_back("seconds");
  Table table(header);
  const Json rows = report.to_json().at("projections");
  for (const Json& row : rows) {
    std::vector<std::string> cells = {
        fmt::format("{}", row.at("layer").get<int>()), row.at("projection").get<std::string>(),
        fmt::format("{:.4f}", row.at("relative_error").get<double>())};
    if (report.weighted_error)
      cells.push_back(fmt::format("{:.4f}", row.at("weighted_error").get<double>()));
    cells.push_back(fmt::format("{:.2f}", row.at("seconds").get<double>()));
    table.add_row(std::move(cells));
  }
  std::string setting = fmt::format("{} experts a layer", report.num_experts);
  if (report.latent.enabled()) setting = fmt::format("latent width {}", report.latent.latent_dim);
  auto add_list = [&](const char* what, const std::vector<int>& values) {
    if (!values.empty()) setting += fmt::format("{} {}", what, fmt::join(values, " "));
  };
  if (!report.latent.latent_dims.empty()) setting.clear();
  add_list("latent widths", report.latent.latent_dims);
  add_list(", ranks", report.latent.basis_ranks);
  add_list("; of down", report.latent.down_latent_dims);
  add_list(", ranks", report.latent.down_basis_ranks);
  print_data(fmt::format(
      "{}\n{}: {}, experts {:.2f} M -> {:.2f} M parameters ({:.1f} %), relative error {:.4f}, "
      "{:.1f} s\n{}\n",
      table.text(), report.method, setting, static_cast<double>(report.expert_params_before) / 1e6,
      static_cast<double>(report.expert_params_after) / 1e6, report.expert_share * 100,
      report.relative_error, report.seconds, output));
  if (!report.refit) return;
  for (const auto& layer : report.refit->layers)
    print_data(fmt::format("refit of layer {}: error of the output {:.4f} -> {:.4f}\n", layer.layer,
                           layer.before, layer.after));
}

void list_methods() {
  std::string out;
  for (const convert::Method* method : convert::methods())
    out += fmt::format("{:<13} {}{}\n", method->name(), method->summary(),
                       method->needs_statistics() ? "; needs --calibration" : "");
  print_data(out);
}

/// What OUT is to be when --to does not say: by its ending, else latent experts.
std::string target_of(const ConvertCommand& options) {
  if (!options.to.empty()) return options.to;
  return options.output.ends_with(".gguf") ? "gguf" : "mole";
}

void show(const convert::ConversionReport& report, const ConvertCommand& command) {
  if (command.json) return print_json(report.to_json());
  print_report(report, command.output);
}

/// The conversion beside OUT, refitted into it.
void convert_and_refit(const ModelFiles& model, convert::ConvertOptions options,
                       const ConvertCommand& command) {
  if (command.text.file.empty())
    fail(ErrorCode::kUsage, "a refit needs a text to read: --text FILE");
  if (options.materialise) fail(ErrorCode::kUsage, "refit first, then --to dense");
  if (options.method == "merge" || options.method == "delta")
    fail(ErrorCode::kUsage, "a refit would undo what {} shares among experts", options.method);
  if (std::filesystem::exists(command.output) && !options.overwrite)
    fail(ErrorCode::kUsage, "{} exists already", command.output);
  auto sequences = convert::sample_sequences(
      sequences_of(command.text.file, command.text.ids, command.text.windows.context, command.model,
                   model.config),
      command.refit_tokens, options.seed);
  convert::DistilOptions refit = command.refit;
  refit.seed = options.seed;
  refit.dtype = options.dtype;
  refit.overwrite = options.overwrite;
  refit.cancelled = options.cancelled;
  options.dtype = DType::kF32;
  const TemporaryFolder folder(command.output, ".converted");
  const std::filesystem::path converted = folder / "model";
  convert::ConversionReport report = convert::convert_model(model, converted, options);
  report.refit =
      convert::distil(model, open_model(converted), std::move(sequences), command.output, refit);
  report.seconds += report.refit->seconds;
  report.expert_bytes = static_cast<std::int64_t>(
      bytes_of(refit.dtype, static_cast<std::uint64_t>(report.expert_params_after)));
  write_text(std::filesystem::path(command.output) / "conversion.json",
             report.to_json().dump(2) + "\n");
  show(report, command);
}

void convert_auto(const convert::ConvertOptions& options, const ConvertCommand& command) {
  if (command.text.file.empty())
    fail(ErrorCode::kUsage, "method auto needs a text to judge conversions by: --text FILE");
  search::SearchOptions search{.convert = options, .threads = command.threads};
  search.cancelled = &catch_interrupts();
  const LoadedModel loaded = load_model(command.model, {.threads = command.threads});
  const auto report =
      search::convert_best(loaded, command.output, scoring_text(command.text, loaded), search);
  if (command.json) return print_json(report.to_json());
  Table table({"conversion", "experts", "weight error", "KL", "ln ratio", "seconds"});
  for (const search::Trial& trial : report.trials)
    table.add_row(
        {trial.name, format_bytes(static_cast<double>(trial.expert_bytes)),
         fmt::format("{:.4f}", trial.weight_error), fmt::format("{:.5f}", trial.divergence.kl_mean),
         fmt::format("{:.4f}", trial.divergence.ln_ratio), fmt::format("{:.1f}", trial.seconds)});
  std::string left;
  for (const search::GivenUp& candidate : report.given_up)
    left += fmt::format("given up: {}, {} layers, error {:.1f} times the least\n", candidate.name,
                        candidate.layers, candidate.error_ratio);
  print_data(fmt::format("{}{}\n{}: {}, {:.1f} s\n", table.text(), left, command.output,
                         report.trials.front().name, report.seconds));
}

/// Before any work: what is read or is no model's is not replaced, not with --force either.
void check_output(const ConvertCommand& command) {
  for (const std::string& input :
       {command.model, command.text.file, command.convert.calibration.string()})
    check_not_input(command.output, input);
  if (command.convert.overwrite && target_of(command) != "gguf")
    check_replaceable_model(command.output);
}

void run(const ConvertCommand& command) {
  if (command.list_methods) return list_methods();
  if (command.model.empty() || command.output.empty())
    fail(ErrorCode::kUsage, "convert needs MODEL and OUT");
  check_output(command);
  at::set_num_threads(command.threads > 0 ? command.threads : available_cores());
  convert::ConvertOptions options = command.convert;
  options.dtype = dtype_of(command.dtype);
  if (!command.method.empty()) options.method = command.method;
  const bool choose = options.method == "auto";
  const bool down = !choose && convert::method_named(options.method).factors_down_by_default();
  set_factors(!command.factor.empty() ? command.factor
              : down                  ? "gate,up,down"
                                      : "gate,up",
              options.latent);
  read_config(Json(command.group_by), options.group_by, "--group-by");
  options.cancelled = &catch_interrupts();
  const ModelFiles model = open_model(command.model);
  const std::string target = target_of(command);
  if (target == "gguf") {
    GgufOutput gguf = command.gguf;
    gguf.dtype = command.dtype;
    gguf.materialise = options.materialise;
    gguf.overwrite = options.overwrite;
    if (command.refit.steps > 0)
      fail(ErrorCode::kUsage, "a refit writes a directory: OUT, and OUT to a .gguf afterwards");
    if (!command.method.empty()) {
      options.gguf = gguf_types(gguf);
      options.dtype = DType::kF32;  // of fits, which are rounded after
      if (command.method == "auto") return convert_auto(options, command);
      return show(convert::convert_model(model, command.output, options), command);
    }
    if (options.budget > 0 || options.bits > 0 || options.latent.latent_dim > 0 ||
        options.num_experts > 0 || !options.calibration.empty())
      fail(ErrorCode::kUsage, "{} is only written as it is: to convert it too, name a --method",
           command.model);
    write_gguf(model, command.output, gguf);
  } else if (choose) {
    fail(ErrorCode::kUsage, "method auto chooses types too: name OUT .gguf");
  } else if (target == "dense") {
    convert::materialise(model, command.output, options.dtype, options.overwrite);
  } else if (target == "mole" && command.refit.steps > 0) {
    convert_and_refit(model, options, command);
    return;
  } else if (target == "mole") {
    return show(convert::convert_model(model, command.output, options), command);
  } else {
    fail(ErrorCode::kUsage, "--to {}: expected mole, dense or gguf", target);
  }
  if (command.json) return print_json({{"output", command.output}});
  print_data(command.output + "\n");
}

void add_latent_options(CLI::App& app, ConvertCommand& options) {
  constexpr const char* kGroup = "Latent experts";
  LatentConfig& latent = options.convert.latent;
  app.add_option("--method", options.method,
                 "One of --list-methods (default svd), or auto: the best of the quick ones")
      ->group(kGroup);
  app.add_option("--budget", options.convert.budget,
                 "Share of the experts' parameters that may be kept, e.g. 0.75")
      ->group(kGroup);
  app.add_option(
         "--bits", options.convert.bits,
         "GGUF: bits that experts may take for each of their parameters, instead of a budget")
      ->group(kGroup);
  app.add_option("--latent-dim", latent.latent_dim, "Latent width, instead of a budget")
      ->group(kGroup);
  app.add_option("--basis-rank", latent.basis_rank, "slbf: rank of a basis, instead of a budget")
      ->type_name("N")
      ->group(kGroup);
  app.add_option_function<std::string>(
         "--basis-activation",
         [&latent](const std::string& name) {
           read_config(Json(name), latent.basis_activation, "--basis-activation");
         },
         "mobe, slbf: nonlinearity on mixed bases (default silu, slbf-plus tanh)")
      ->check(CLI::IsMember({"silu", "tanh"}))
      ->group(kGroup);
  app.add_option("--group-size", latent.group_size, "Experts that share a latent, 0 = all")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--factor", options.factor,
                 "Which projections go through a latent (default gate,up; with mobe-plus, slbf, "
                 "slbf-plus gate,up,down)")
      ->type_name("LIST")
      ->group(kGroup);
  app.add_flag("--share-gate-up", latent.share_gate_up_latent, "One latent for gate and up")
      ->group(kGroup);
  app.add_option("--reduce-rank", options.convert.reduce_rank,
                 "First phase: cut every expert to this rank before stacking, 0 = skip")
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--allocate", options.convert.allocate,
               "Layers get latent widths (and ranks of bases) by their spectra")
      ->group(kGroup);
  app.add_option("--group-by", options.group_by,
                 "order: groups of experts as numbered; overlap: of those that are alike")
      ->check(CLI::IsMember({"order", "overlap"}))
      ->group(kGroup);
  app.add_option("--keep-experts", options.convert.num_experts,
                 "prune, merge: experts a layer, instead of a budget")
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--calibration", options.convert.calibration,
                 "What experts see, of talpa calibrate; methods weigh errors by it")
      ->type_name("FILE")
      ->group(kGroup);
  app.add_option("--refine", options.convert.refine,
                 "svd-whitened, tucker2: rounds that fit the factors to each expert's own inputs")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
  app.add_flag("--materialize", options.convert.materialise,
               "Write dense experts under the original architecture")
      ->group(kGroup);
  app.add_flag("--list-methods", options.list_methods, "Print the methods and stop")->group(kGroup);
}

void add_fit_options(CLI::App& app, ConvertCommand& options) {
  constexpr const char* kGroup = "Iterative methods";
  app.add_option("--steps", options.convert.steps, "Steps a projection, 0 = the method's own")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--learning-rate", options.convert.learning_rate, "0 = the method's own")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group(kGroup);
  app.add_flag("--weighted", options.convert.weighted,
               "Minimise the error weighted by --calibration")
      ->group(kGroup);
  app.add_option("--seed", options.convert.seed, "Of random starts")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--scratch", options.convert.scratch,
                 "Folder to keep finished layers in, to go on from after an interruption")
      ->type_name("DIR")
      ->group(kGroup);
}

void add_refit_options(CLI::App& app, ConvertCommand& options) {
  constexpr const char* kGroup = "Refit";
  app.add_option("--refit", options.refit.steps,
                 "Steps a layer that bring its output back to the original's, on --text; 0 = none")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
  app.add_option("--refit-rate", options.refit.learning_rate,
                 "Largest change in a step, relative to a tensor's size")
      ->check(positive_number())
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--refit-tokens", options.refit_tokens, "Tokens of --text to read")
      ->check(positive_number())
      ->capture_default_str()
      ->type_name("N")
      ->group(kGroup);
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
  add_gguf_options(app, options->gguf);
  app.add_flag("--force", options->convert.overwrite, "Replace OUT");
  add_latent_options(app, *options);
  add_text_options(app, options->text, "--text", /*required=*/false);
  add_fit_options(app, *options);
  add_refit_options(app, *options);
  add_threads_option(app, *options);
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
