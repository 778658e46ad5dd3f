#include "talpa/cli/config_options.h"

#include <algorithm>

namespace talpa::cli::detail {

namespace {
constexpr const char* kConfigurationGroup = "Configuration";

std::string settings_table(const std::vector<SettingHelp>& settings) {
  std::size_t width = 0;
  for (const SettingHelp& row : settings)
    width = std::max(width, row.path.size() + row.default_value.size() + 3);
  std::string out = "Settings (recipe and --set), with their defaults:\n";
  for (const SettingHelp& row : settings)
    out += fmt::format("  {:<{}}  {}\n", row.path + " = " + row.default_value, width, row.help);
  out.pop_back();
  return out;
}
}  // namespace

void add_config_options(CLI::App& app, ConfigOptions& options,
                        const std::vector<SettingHelp>& settings) {
  app.add_option("RECIPE", options.recipe, "Configuration, TOML or JSON")->type_name("FILE");
  app.add_option("--set", options.settings, "Change one setting; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->group(kConfigurationGroup);
  app.add_flag("--print-config", options.print_config, "Print the whole configuration and stop")
      ->group(kConfigurationGroup);
  app.add_flag("--dry-run", options.dry_run, "Check everything, do nothing")
      ->group(kConfigurationGroup);
  app.footer(settings_table(settings));
}

Json read_recipe(const ConfigOptions& options) {
  Json json = Json::object();
  if (!options.recipe.empty())
    json =
        options.recipe.ends_with(".json") ? read_json(options.recipe) : read_toml(options.recipe);
  for (const std::string& setting : options.settings) apply_setting(json, setting);
  return json;
}

void print_configuration(const Json& config) { print_data(write_toml(config)); }

}  // namespace talpa::cli::detail
