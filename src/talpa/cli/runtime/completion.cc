#include "talpa/cli/completion_script.h"
#include "talpa/cli/options.h"
#include "talpa/cli/runtime/command_tree.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

namespace {

struct CompletionOptions : CommonOptions {
  std::string shell;
};

void run(const CompletionOptions& options) {
  const Json tree = command_tree();
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
