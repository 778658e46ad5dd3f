#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "talpa/cli/app.h"
#include "talpa/cli/laboratory/commands.h"

int main(int argc, char** argv) {
  using namespace talpa::cli;
  return run_program(
      {.program = Program::kLaboratory,
       .version_line = fmt::format("talpa-lab {} (libtorch {})", version(), TORCH_VERSION),
       .commands = laboratory_commands()},
      argc, argv);
}
