#include "talpa/cli/app.h"
#include "talpa/cli/completion_script.h"
#include "talpa/cli/describe.h"
#include "talpa/cli/launch.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

namespace {

struct CompletionOptions : CommonOptions {
  std::string shell;
};

/// The whole tree: our own commands, and those of talpa-lab as it describes them.
Json whole_tree() {
  const auto app = make_app({.program = Program::kRuntime, .commands = runtime_commands()});
  Json tree = describe(*app);
  const auto laboratory = find_laboratory();
  const auto text =
      laboratory ? output_of(*laboratory, {std::string(kDescribeCommand)}, 30) : std::nullopt;
  if (!text) return tree;
  const Json other = parse_json(*text, "talpa-lab");
  for (Json& command : tree.at("commands"))
    for (const CommandInfo& info : kCommands)
      if (info.program == Program::kLaboratory && command.at("name") == info.name)
        for (const Json& described : other.at("commands"))
          if (described.at("name") == info.name) command = described;
  return tree;
}

void run(const CompletionOptions& options) {
  const Json tree = whole_tree();
  print_data(options.shell == "bash"  ? bash_completion(tree)
             : options.shell == "zsh" ? zsh_completion(tree)
                                      : fish_completion(tree));
}

}  // namespace

void setup_completion(CLI::App& app) {
  auto options = std::make_shared<CompletionOptions>();
  app.add_option("SHELL", options->shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  app.footer(
      "bash:  talpa completion bash > ~/.local/share/bash-completion/completions/talpa\n"
      "zsh:   talpa completion zsh > a folder of $fpath/_talpa\n"
      "fish:  talpa completion fish > ~/.config/fish/completions/talpa.fish");
  on_run(app, options, run);
}

}  // namespace talpa::cli
