#pragma once

#include <string>

#include "talpa/base/config.h"

namespace talpa::cli {

/// Completion scripts made from a command tree (see describe.h). Source the text, or install it:
/// bash  ~/.local/share/bash-completion/completions/talpa
/// zsh   a file _talpa in a folder of $fpath
/// fish  ~/.config/fish/completions/talpa.fish
std::string bash_completion(const Json& tree);
std::string zsh_completion(const Json& tree);
std::string fish_completion(const Json& tree);

}  // namespace talpa::cli
