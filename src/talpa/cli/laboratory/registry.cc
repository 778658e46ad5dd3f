#include "talpa/cli/laboratory/commands.h"

namespace talpa::cli {

std::span<const CommandSetup> laboratory_commands() {
  static constexpr CommandSetup kSetups[] = {
      {"convert", setup_convert},
      {"train", setup_train},
      {"doctor", setup_laboratory_doctor},
  };
  return kSetups;
}

}  // namespace talpa::cli
