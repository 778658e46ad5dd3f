#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/cli/options.h"

namespace talpa::cli {

/// Options of a command that is steered by a configuration: RECIPE, --set, --print-config,
/// --dry-run. Use:
///
///   struct TrainOptions : CommonOptions, ConfigOptions {};
///   add_config_options<TrainConfig>(app, *options);
///   ...
///   const auto config = configured<TrainConfig>(options);
///   if (print_configuration(options, config)) return;
struct ConfigOptions {
  std::string recipe;
  std::vector<std::string> settings;
  bool print_config = false;
  bool dry_run = false;
};

namespace detail {
void add_config_options(CLI::App& app, ConfigOptions& options,
                        const std::vector<SettingHelp>& settings);
/// The recipe (TOML, or JSON by its ending) over those that its `base` names, with --set applied.
Json read_recipe(const ConfigOptions& options);
void print_configuration(const Json& config);
}  // namespace detail

/// Adds the options; the settings of T with their defaults become part of --help.
template <Configurable T>
void add_config_options(CLI::App& app, ConfigOptions& options, const T& defaults = {}) {
  detail::add_config_options(app, options, settings_of(defaults));
}

/// The configuration that the options ask for, validated. Errors name recipe and setting.
template <Configurable T>
T configured(const ConfigOptions& options) {
  const Json json = detail::read_recipe(options);
  try {
    T config{};
    read_config(json, config);
    return config;
  } catch (const Error& error) {
    if (options.recipe.empty()) throw;
    fail(error.code(), "{}: {}", options.recipe, error.what());
  }
}

/// Prints the whole configuration as TOML if --print-config was given; true if it was.
template <Configurable T>
bool print_configuration(const ConfigOptions& options, const T& config) {
  if (options.print_config) detail::print_configuration(config_to_json(config));
  return options.print_config;
}

}  // namespace talpa::cli
