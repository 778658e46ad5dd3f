#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace talpa::cli {

/// Help in 100 columns: usage, what the command does, sub-commands by group, then options by
/// group, descriptions wrapped under themselves.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
  std::string make_subcommand(const CLI::App* sub) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
};

}  // namespace talpa::cli
