#include "talpa/cli/describe.h"

#include <CLI/CLI.hpp>

#include "talpa/cli/options.h"

namespace talpa::cli {

namespace {

Json describe_option(const CLI::Option& option) {
  Json names = Json::array();
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  if (option.get_positional()) names = Json::array({option.get_name(true)});
  const bool takes_value = option.get_type_size() != 0;
  std::string type = takes_value ? option.get_type_name() : "";
  Json choices = Json::array();
  // CLI::IsMember writes its set as {a,b,c}.
  if (const auto open = type.find('{'), close = type.find('}');
      open != std::string::npos && close != std::string::npos)
    for (const auto& choice : CLI::detail::split(type.substr(open + 1, close - open - 1), ','))
      choices.push_back(choice);
  std::string shown = takes_value ? option.get_default_str() : "";
  if (shown == "\"\"" || shown == "[]") shown.clear();
  return {{"names", names},
          {"positional", option.get_positional()},
          {"required", option.get_required()},
          {"value", type},
          {"default", shown},
          {"choices", choices},
          {"help", option.get_description()},
          {"group", option.get_group()}};
}

}  // namespace

Json describe(const CLI::App& app) {
  Json options = Json::array();
  for (const CLI::Option* option : app.get_options())
    if (!option->get_group().empty()) options.push_back(describe_option(*option));
  Json commands = Json::array();
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!command->get_group().empty()) commands.push_back(describe(*command));
  return {{"name", app.get_name()},   {"summary", app.get_description()},
          {"group", app.get_group()}, {"footer", app.get_footer()},
          {"options", options},       {"commands", commands}};
}

void add_describe_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(std::string(kDescribeCommand), "Print this tree as JSON");
  command->group("");
  command->callback([&app] { print_json(describe(app)); });
}

}  // namespace talpa::cli
