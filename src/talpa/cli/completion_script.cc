#include "talpa/cli/completion_script.h"

#include <fmt/ranges.h>

#include <functional>
#include <vector>

namespace talpa::cli {

namespace {

using Names = std::vector<std::string>;

/// Calls visit(path, node) for every command; the root's path is empty.
void walk(const Json& node, const std::string& path,
          const std::function<void(const std::string&, const Json&)>& visit) {
  visit(path, node);
  for (const Json& command : node.at("commands")) {
    const auto name = command.at("name").get<std::string>();
    walk(command, path.empty() ? name : path + " " + name, visit);
  }
}

Names option_names(const Json& node) {
  Names names;
  for (const Json& option : node.at("options"))
    if (!option.at("positional").get<bool>())
      for (const Json& name : option.at("names")) names.push_back(name.get<std::string>());
  return names;
}

Names command_names(const Json& node) {
  Names names;
  for (const Json& command : node.at("commands")) names.push_back(command.at("name"));
  return names;
}

Names positional_choices(const Json& node) {
  Names names;
  for (const Json& option : node.at("options"))
    if (option.at("positional").get<bool>())
      for (const Json& choice : option.at("choices")) names.push_back(choice);
  return names;
}

bool has_positional(const Json& node) {
  for (const Json& option : node.at("options"))
    if (option.at("positional").get<bool>()) return true;
  return false;
}

bool takes_file(const Json& option) {
  const auto value = option.at("value").get<std::string>();
  return value == "FILE" || value == "DIR" || value == "MODEL";
}

/// Text inside single quotes of a shell.
std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out;
}

/// Case branches of bash that complete the values of one command's options.
std::string bash_values(const std::string& path, const Json& node) {
  std::string out;
  for (const Json& option : node.at("options")) {
    if (option.at("positional").get<bool>() || option.at("value").get<std::string>().empty())
      continue;
    Names patterns;
    for (const Json& name : option.at("names"))
      patterns.push_back(fmt::format("\"{} {}\"", path, name.get<std::string>()));
    const std::string action = !option.at("choices").empty()
                                   ? fmt::format("COMPREPLY=($(compgen -W \"{}\" -- \"$current\"))",
                                                 fmt::join(option.at("choices").get<Names>(), " "))
                               : takes_file(option) ? "COMPREPLY=($(compgen -f -- \"$current\"))"
                                                    : "COMPREPLY=()";
    out += fmt::format("    {}) {}; return ;;\n", fmt::join(patterns, "|"), action);
  }
  return out;
}

}  // namespace

std::string bash_completion(const Json& tree) {
  std::string paths, values, words;
  walk(tree, "", [&](const std::string& path, const Json& node) {
    if (!path.empty()) paths += fmt::format("{}\"{}\"", paths.empty() ? "" : "|", path);
    values += bash_values(path, node);
    Names plain = command_names(node);
    for (const std::string& choice : positional_choices(node)) plain.push_back(choice);
    words += fmt::format("    \"{}\") options=\"{}\"; plain=\"{}\"; files={} ;;\n", path,
                         fmt::join(option_names(node), " "), fmt::join(plain, " "),
                         has_positional(node) && plain.empty() ? "yes" : "no");
  });
  return fmt::format(R"(# bash completion of talpa
_talpa() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local path="" word next options plain files
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    next="${{path:+$path }}$word"
    case "$next" in
      {0}) path="$next" ;;
    esac
  done
  case "$path $previous" in
{1}  esac
  case "$path" in
{2}  esac
  if [[ "$current" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$current"))
  elif [[ "$files" == yes ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
  else
    COMPREPLY=($(compgen -W "$plain" -- "$current"))
  fi
}}
complete -o filenames -o bashdefault -F _talpa talpa
)",
                     paths, values, words);
}

namespace {

/// Brackets and colons mean something to _arguments.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : quoted(text)) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_value(const Json& option) {
  const auto value = option.at("value").get<std::string>();
  if (!option.at("choices").empty())
    return fmt::format(":value:({})", fmt::join(option.at("choices").get<Names>(), " "));
  if (takes_file(option)) return ":file:_files";
  return value.empty() ? "" : ":value:";
}

std::string zsh_arguments(const Json& node) {
  std::string out;
  for (const Json& option : node.at("options")) {
    if (option.at("positional").get<bool>()) continue;
    for (const Json& name : option.at("names"))
      out += fmt::format(" \\\n    '{}[{}]{}'", name.get<std::string>(),
                         zsh_text(option.at("help").get<std::string>()), zsh_value(option));
  }
  const Names choices = positional_choices(node);
  if (!choices.empty())
    out += fmt::format(" \\\n    '1:value:({})'", fmt::join(choices, " "));
  else if (has_positional(node))
    out += " \\\n    '*:file:_files'";
  return out;
}

std::string zsh_function_name(std::string path) {
  for (char& c : path)
    if (c == ' ' || c == '-') c = '_';
  return path.empty() ? "_talpa" : "_talpa_" + path;
}

}  // namespace

std::string zsh_completion(const Json& tree) {
  std::string out = "#compdef talpa\n";
  walk(tree, "", [&](const std::string& path, const Json& node) {
    out += fmt::format("{}() {{\n", zsh_function_name(path));
    if (node.at("commands").empty()) {
      out += fmt::format("  _arguments{}\n}}\n", zsh_arguments(node));
      return;
    }
    std::string described, cases;
    for (const Json& command : node.at("commands")) {
      const auto name = command.at("name").get<std::string>();
      described +=
          fmt::format("    '{}:{}'\n", name, quoted(command.at("summary").get<std::string>()));
      cases += fmt::format("    {}) {} ;;\n", name,
                           zsh_function_name(path.empty() ? name : path + " " + name));
    }
    out += fmt::format(
        "  local state line\n  local -a commands=(\n{})\n"
        "  _arguments -C{} \\\n    '1: :->command' '*:: :->rest' && return\n"
        "  case $state in\n    command) _describe command commands ;;\n"
        "    rest) case $line[1] in\n{}    esac ;;\n  esac\n}}\n",
        described, zsh_arguments(node), cases);
  });
  return out +
         "if [[ $funcstack[1] == _talpa ]]; then _talpa \"$@\"; else compdef _talpa talpa; fi\n";
}

std::string fish_completion(const Json& tree) {
  std::string out = "# fish completion of talpa\n";
  walk(tree, "", [&](const std::string& path, const Json& node) {
    Names seen;
    std::string condition = "__fish_use_subcommand";
    if (!path.empty()) {
      condition.clear();
      for (std::size_t start = 0; start < path.size();) {
        const std::size_t end = std::min(path.find(' ', start), path.size());
        condition += fmt::format("{}__fish_seen_subcommand_from {}", start == 0 ? "" : "; and ",
                                 path.substr(start, end - start));
        start = end + 1;
      }
    }
    for (const Json& command : node.at("commands"))
      out += fmt::format("complete -c talpa -n '{}' -a {} -d '{}'\n", condition,
                         command.at("name").get<std::string>(),
                         quoted(command.at("summary").get<std::string>()));
    for (const Json& option : node.at("options")) {
      if (option.at("positional").get<bool>()) continue;
      std::string names;
      for (const Json& json : option.at("names")) {
        const auto name = json.get<std::string>();
        names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      const Names choices = option.at("choices").get<Names>();
      const bool value = !option.at("value").get<std::string>().empty();
      out += fmt::format("complete -c talpa -n '{}'{}{}{} -d '{}'\n", condition, names,
                         value ? " -r" : "",
                         choices.empty() ? "" : fmt::format(" -fa '{}'", fmt::join(choices, " ")),
                         quoted(option.at("help").get<std::string>()));
    }
  });
  return out;
}

}  // namespace talpa::cli
