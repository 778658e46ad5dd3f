#include "talpa/cli/runtime/command_tree.h"

#include <CLI/CLI.hpp>

#include "talpa/cli/app.h"
#include "talpa/cli/describe.h"
#include "talpa/cli/launch.h"

namespace talpa::cli {

Json command_tree() {
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

}  // namespace talpa::cli
