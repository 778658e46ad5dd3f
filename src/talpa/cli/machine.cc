#include "talpa/cli/machine.h"

#include <filesystem>

#include "talpa/base/cpu.h"
#include "talpa/base/memory.h"
#include "talpa/base/threads.h"
#include "talpa/cli/app.h"
#include "talpa/cli/launch.h"
#include "talpa/kernel/implementation.h"

namespace talpa::cli {

namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

Json laboratory_report(std::vector<std::string>& notes) {
  const auto program = find_laboratory();
  if (!program) {
    notes.emplace_back(
        "talpa-lab is missing: train and convert do not work; build with "
        "TALPA_BUILD_LABORATORY=ON");
    return nullptr;
  }
  const auto text = output_of(*program, {"doctor", "--json"}, 60);
  if (!text) {
    notes.push_back(program->string() +
                    " does not start: train and convert do not work (is libtorch where it was "
                    "when talpa was built?)");
    return {{"path", program->string()}, {"works", false}};
  }
  Json report = parse_json(*text, program->string());
  report["path"] = program->string();
  report["works"] = true;
  return report;
}

void note_cpu(const CpuFeatures& cpu, int cores, std::vector<std::string>& notes) {
  if (!cpu.avx2)
    notes.emplace_back("no AVX2: every kernel runs as plain C++, many times slower");
  else if (!cpu.avx512)
    notes.emplace_back("no AVX-512: inference runs on AVX2 kernels, about half the width");
  if (!cpu.avx512_bf16 && !cpu.amx)
    notes.emplace_back("no bf16 arithmetic (AVX-512 BF16 or AMX): train in fp32, bf16 is slower");
  else if (!cpu.amx)
    notes.emplace_back("no AMX: bf16 training gains little over fp32");
  if (cores == 1) notes.emplace_back("one core: nothing runs in parallel");
}

}  // namespace

MachineReport examine_machine() {
  MachineReport report;
  const CpuFeatures& cpu = cpu_features();
  const int cores = available_cores();
  const MemoryInfo memory = memory_info();
  note_cpu(cpu, cores, report.notes);
  if (memory.available > 0 && memory.available < 2 * kGiB)
    report.notes.push_back(fmt::format("only {:.1f} GiB of memory are free",
                                       static_cast<double>(memory.available) / kGiB));
  Json laboratory = laboratory_report(report.notes);
  report.facts = {{"version", version()},
                  {"cpu", cpu.model},
                  {"cpu_features", cpu_feature_names()},
                  {"kernels", kernel::implementations_in_use()},
                  {"cores", cores},
                  {"memory_total_bytes", memory.total},
                  {"memory_available_bytes", memory.available},
                  {"laboratory", std::move(laboratory)}};
  return report;
}

}  // namespace talpa::cli
