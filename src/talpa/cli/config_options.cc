#include "talpa/cli/config_options.h"

#include <algorithm>
#include <filesystem>

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

namespace {

/// Tables are merged, anything else is replaced.
void merge(Json& json, const Json& over) {
  for (const auto& [key, value] : over.items())
    if (value.is_object() && json.contains(key) && json[key].is_object())
      merge(json[key], value);
    else
      json[key] = value;
}

/// A recipe over the one that its `base` names, a path beside it.
Json read_layered(const std::filesystem::path& path, int depth = 0) {
  constexpr int kMaxDepth = 8;
  if (depth > kMaxDepth)
    fail(ErrorCode::kConfig,
         "{}: more than {} recipes on top of one another; does one name itself?", path.string(),
         kMaxDepth);
  Json json = path.extension() == ".json" ? read_json(path) : read_toml(path);
  if (!json.is_object() || !json.contains("base")) return json;
  if (!json["base"].is_string())
    fail(ErrorCode::kConfig, "{}: base: expected the path of a recipe", path.string());
  Json whole = read_layered(path.parent_path() / json["base"].get<std::string>(), depth + 1);
  json.erase("base");
  merge(whole, json);
  return whole;
}

}  // namespace

Json read_recipe(const ConfigOptions& options) {
  Json json = options.recipe.empty() ? Json::object() : read_layered(options.recipe);
  for (const std::string& setting : options.settings) apply_setting(json, setting);
  return json;
}

void print_configuration(const Json& config) { print_data(write_toml(config)); }

}  // namespace talpa::cli::detail
