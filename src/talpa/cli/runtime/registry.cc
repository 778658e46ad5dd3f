#include "talpa/cli/app.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

std::span<const CommandSetup> runtime_commands() {
  static constexpr CommandSetup kSetups[] = {
      {"generate", setup_generate}, {"chat", setup_chat},       {"serve", setup_serve},
      {"embed", setup_embed},       {"eval", setup_eval},       {"tokenize", setup_tokenize},
      {"compare", setup_compare},   {"inspect", setup_inspect}, {"tokenizer", setup_tokenizer},
      {"launch", setup_launch},     {"runs", setup_runs},       {"plot", setup_plot},
      {"bench", setup_bench},       {"doctor", setup_doctor},   {"completion", setup_completion},
      {"man", setup_man},
  };
  return kSetups;
}

}  // namespace talpa::cli
