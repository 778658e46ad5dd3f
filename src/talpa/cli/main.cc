#include <fmt/format.h>

#include "talpa/cli/app.h"

int main(int argc, char** argv) {
  using namespace talpa::cli;
  return run_program({.program = Program::kRuntime,
                      .version_line = fmt::format("talpa {}", version()),
                      .commands = runtime_commands()},
                     argc, argv);
}
