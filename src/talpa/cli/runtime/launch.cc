#include "talpa/cli/options.h"
#include "talpa/cli/process_group.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

namespace {

struct LaunchOptions {
  int processes = 0;
  std::vector<std::string> command;
};

void launch(const LaunchOptions& options) {
  if (options.command.empty())
    fail(ErrorCode::kUsage, "expected a command, e.g. talpa launch -n {} train RECIPE",
         options.processes);
  run_process_group(options.processes, options.command);
}

}  // namespace

void setup_launch(CLI::App& app) {
  auto options = std::make_shared<LaunchOptions>();
  app.add_option("-n,--processes", options->processes, "Processes to start on this host")
      ->required()
      ->default_str("")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  app.prefix_command();
  app.footer(
      "COMMAND is any of talpa's that knows of several processes, with its options: talpa launch\n"
      "-n 4 train RECIPE. Cores are divided among them unless --threads says otherwise. Only the\n"
      "first writes to the terminal; errors are shown of all. When one ends badly, all do.");
  app.callback([&app, options] {
    options->command = app.remaining();
    launch(*options);
  });
}

}  // namespace talpa::cli
