#include "talpa/cli/app.h"
#include "talpa/cli/runtime/commands.h"

namespace talpa::cli {

std::span<const CommandSetup> runtime_commands() {
  static constexpr CommandSetup kSetups[] = {
      {"generate", setup_generate},
      {"serve", setup_serve},
      {"eval", setup_eval},
      {"tokenize", setup_tokenize},
      {"compare", setup_compare},
      {"inspect", setup_inspect},
      {"tokenizer", setup_tokenizer},
      {"launch", setup_launch},
      {"runs", setup_runs},
      {"plot", setup_plot},
      {"bench", setup_bench},
      {"doctor", setup_doctor},
      {"completion", setup_completion},
  };
  return kSetups;
}

}  // namespace talpa::cli
