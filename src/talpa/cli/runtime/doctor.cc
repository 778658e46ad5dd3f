#include <fmt/ranges.h>

#include "talpa/cli/machine.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

namespace {

struct DoctorOptions : CommonOptions {};

std::string gib(const Json& bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes.get<std::uint64_t>()) / (1u << 30));
}

std::string line(std::string_view name, const std::string& value) {
  return fmt::format("{:<12} {}\n", name, value);
}

std::string laboratory_text(const Json& laboratory) {
  if (laboratory.is_null()) return line("talpa-lab", "missing");
  std::string out = line("talpa-lab", laboratory.at("path").get<std::string>());
  if (!laboratory.at("works").get<bool>()) return out;
  out += line("libtorch", laboratory.at("libtorch").get<std::string>());
  out += line("BLAS", fmt::format("{}, {} threads", laboratory.at("blas").get<std::string>(),
                                  laboratory.at("threads").get<int>()));
  return out + line("GPU", laboratory.at("gpu").get<std::string>());
}

void run(const DoctorOptions& options) {
  const MachineReport report = examine_machine();
  if (options.json) {
    Json json = report.facts;
    json["notes"] = report.notes;
    return print_json(json);
  }
  const Json& facts = report.facts;
  std::string out = line("talpa", facts.at("version").get<std::string>());
  out += line("CPU", facts.at("cpu").get<std::string>());
  out += line(
      "features",
      fmt::format("{}", fmt::join(facts.at("cpu_features").get<std::vector<std::string>>(), " ")));
  out += line("kernels", facts.at("kernels").get<std::string>());
  out += line("cores", std::to_string(facts.at("cores").get<int>()));
  out += line("memory", fmt::format("{} free of {}", gib(facts.at("memory_available_bytes")),
                                    gib(facts.at("memory_total_bytes"))));
  out += laboratory_text(facts.at("laboratory"));
  out += report.notes.empty() ? "\nNothing here will be slow.\n" : "\nWorth knowing\n";
  for (const std::string& note : report.notes) out += "  - " + note + "\n";
  print_data(out);
}

}  // namespace

void setup_doctor(CLI::App& app) {
  auto options = std::make_shared<DoctorOptions>();
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
