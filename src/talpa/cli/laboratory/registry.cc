#include "talpa/cli/laboratory/commands.h"

namespace talpa::cli {

std::span<const CommandSetup> laboratory_commands() {
  static constexpr CommandSetup kSetups[] = {
      {"calibrate", setup_calibrate},      {"carve", setup_carve},
      {"convert", setup_convert},          {"train", setup_train},
      {"doctor", setup_laboratory_doctor},
  };
  return kSetups;
}

}  // namespace talpa::cli
