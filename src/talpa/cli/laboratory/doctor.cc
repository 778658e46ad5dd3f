#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "talpa/cli/laboratory/commands.h"
#include "talpa/cli/options.h"

namespace talpa::cli {

namespace {

struct DoctorOptions : CommonOptions {};

/// The BLAS that libtorch's own build summary names.
std::string blas_name() {
  const std::string summary = at::show_config();
  constexpr std::string_view kKey = "BLAS_INFO=";
  const std::size_t at = summary.find(kKey);
  if (at == std::string::npos) return at::hasMKL() ? "mkl" : "unknown";
  const std::size_t start = at + kKey.size();
  return summary.substr(start, summary.find_first_of(", \n", start) - start);
}

void run(const DoctorOptions& options) {
  const Json report = {{"libtorch", TORCH_VERSION},
                       {"blas", blas_name()},
                       {"threads", at::get_num_threads()},
                       {"cpu_capability", at::get_cpu_capability()},
                       {"gpu", at::hasCUDA() ? "CUDA" : "none"}};
  if (options.json) return print_json(report);
  std::string out;
  for (const auto& [name, value] : report.items())
    out += fmt::format("{:<15} {}\n", name,
                       value.is_string() ? value.get<std::string>() : value.dump());
  print_data(out);
}

}  // namespace

void setup_laboratory_doctor(CLI::App& app) {
  auto options = std::make_shared<DoctorOptions>();
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
