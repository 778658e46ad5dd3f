#include "talpa/cli/formatter.h"

#include <fmt/format.h>

#include <sstream>

namespace talpa::cli {

namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kNames = 30;  ///< width of the left column

std::string row(const std::string& names, const std::string& text) {
  std::string out = fmt::format("  {:<{}}", names, kNames - 2);
  if (names.size() + 4 > kNames) out += fmt::format("\n{:{}}", "", kNames);
  std::size_t column = kNames;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (column > kNames && column + 1 + word.size() > kColumns) {
      out += fmt::format("\n{:{}}", "", kNames);
      column = kNames;
    }
    if (column > kNames) out += ' ', ++column;
    out += word;
    column += word.size();
  }
  return out + "\n";
}

std::string squeeze_blank_lines(std::string text) {
  for (std::size_t at; (at = text.find("\n\n\n")) != std::string::npos;) text.erase(at, 1);
  return text;
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode mode) const {
  if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
  std::string out = make_usage(app, std::move(name)) + "\n" + app->get_description() + "\n";
  out += make_positionals(app) + make_subcommands(app, mode) + make_groups(app, mode);
  if (!app->get_footer().empty()) out += "\n" + app->get_footer() + "\n";
  return squeeze_blank_lines(out);
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  std::string usage = CLI::Formatter::make_usage(app, std::move(name));
  if (app->get_prefix_command()) usage.insert(usage.find_last_not_of('\n') + 1, " COMMAND ...");
  return usage;
}

std::string HelpFormatter::make_subcommand(const CLI::App* sub) const {
  return row(sub->get_display_name(), sub->get_description());
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  std::string text = make_option_desc(option);
  const std::string shown = option->get_type_size() == 0 ? "" : option->get_default_str();
  if (!shown.empty() && shown != "\"\"" && shown != "[]") text += " [" + shown + "]";
  return row(make_option_name(option, is_positional) + make_option_opts(option), text);
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_positional() || option->get_type_size() == 0) return {};
  // The name of the type, then ":" and what each check says of itself.
  const std::string type = option->get_type_name();
  const std::size_t choices = type.find('{');
  return " " +
         (choices != std::string::npos ? type.substr(choices) : type.substr(0, type.find(':')));
}

}  // namespace talpa::cli
