#include <filesystem>

#include "talpa/base/error.h"
#include "talpa/base/file.h"
#include "talpa/cli/man_page.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/command_tree.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

namespace {

struct ManOptions : CommonOptions {
  std::string command;
  std::string folder;
};

void write_pages(const Json& tree, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  write_text(folder / "talpa.1", program_man_page(tree));
  for (const Json& command : tree.at("commands"))
    write_text(folder / ("talpa-" + command.at("name").get<std::string>() + ".1"),
               command_man_page(command));
}

void run(const ManOptions& options) {
  const Json tree = command_tree();
  if (!options.folder.empty()) return write_pages(tree, options.folder);
  if (options.command.empty()) return print_data(program_man_page(tree));
  for (const Json& command : tree.at("commands"))
    if (command.at("name") == options.command) return print_data(command_man_page(command));
  fail(ErrorCode::kUsage, "unknown command '{}'; talpa --help lists them", options.command);
}

}  // namespace

void setup_man(CLI::App& app) {
  auto options = std::make_shared<ManOptions>();
  auto* command = app.add_option("COMMAND", options->command, "A command (default: talpa itself)");
  app.add_option("-o,--out", options->folder, "Write talpa.1 and a page for each command into DIR")
      ->type_name("DIR")
      ->excludes(command);
  app.footer("talpa man serve | man -l -");
  on_run(app, options, run);
}

}  // namespace talpa::cli
