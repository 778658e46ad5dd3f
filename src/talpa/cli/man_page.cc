#include "talpa/cli/man_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "talpa/cli/app.h"

namespace talpa::cli {

namespace {

/// Text as roff prints it, within a line: hyphens that may be copied, backslashes as such.
std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\'')
      out += "\\(aq";
    else
      out += c;
  }
  return out;
}

/// Lines of their own: a dot at the start of one would be a request.
std::string paragraph(const std::string& text) {
  std::string out;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    const std::string line = roff(text.substr(start, end - start));
    out += (out.empty() ? "" : ".br\n") + std::string(line.starts_with('.') ? "\\&" : "") + line +
           "\n";
    start = end + 1;
  }
  return out;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string title(const std::string& name) {
  return fmt::format(".TH {} 1 \"\" \"talpa {}\" \"User Commands\"\n.nh\n", roff(upper(name)),
                     version());
}

std::string text_of(const Json& node, const char* key) { return node.at(key).get<std::string>(); }

/// "--dtype {f32,bf16}" with the option in bold and its value in italics.
std::string option_head(const Json& option) {
  std::string out;
  for (const Json& name : option.at("names")) {
    const std::string text = roff(name.get<std::string>());
    out += fmt::format("{}\\f{}{}\\fR", out.empty() ? "" : ", ",
                       option.at("positional").get<bool>() ? 'I' : 'B', text);
  }
  const std::string type = text_of(option, "value");
  if (option.at("positional").get<bool>() || type.empty()) return out;
  const std::size_t choices = type.find('{');
  return out + " \\fI" +
         roff(choices != std::string::npos ? type.substr(choices)
                                           : type.substr(0, type.find(':'))) +
         "\\fR";
}

std::string option_entry(const Json& option) {
  std::string help = text_of(option, "help");
  if (const std::string shown = text_of(option, "default"); !shown.empty())
    help += " [" + shown + "]";
  return ".TP\n" + option_head(option) + "\n" + paragraph(help);
}

std::vector<std::string> groups_of(const Json& list) {
  std::vector<std::string> groups;
  for (const Json& item : list) {
    const std::string group = text_of(item, "group");
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  return groups;
}

/// Options by group, each group behind `heading` with its name in place of "{}".
std::string options_of(const Json& node, const std::string& heading) {
  auto head = [&](const std::string& group) { return fmt::format(fmt::runtime(heading), group); };
  std::string arguments, out;
  for (const Json& option : node.at("options"))
    if (option.at("positional").get<bool>()) arguments += option_entry(option);
  if (!arguments.empty()) out += head("Arguments") + arguments;
  for (const std::string& group : groups_of(node.at("options"))) {
    std::string entries;
    for (const Json& option : node.at("options"))
      if (text_of(option, "group") == group && !option.at("positional").get<bool>())
        entries += option_entry(option);
    if (!entries.empty()) out += head(roff(group)) + entries;
  }
  return out;
}

std::string usage_of(const std::string& path, const Json& node) {
  std::string out = fmt::format("\\fB{}\\fR [\\fIOPTIONS\\fR]", roff(path));
  for (const Json& option : node.at("options")) {
    if (!option.at("positional").get<bool>()) continue;
    const bool required = option.at("required").get<bool>();
    out += fmt::format(" {}\\fI{}\\fR{}", required ? "" : "[",
                       roff(option.at("names").at(0).get<std::string>()), required ? "" : "]");
  }
  return out + "\n";
}

std::string leaf(const Json& node) {
  std::string out = ".SH OPTIONS\n" + options_of(node, ".SS {}\n");
  if (const std::string footer = text_of(node, "footer"); !footer.empty())
    out += ".SH NOTES\n" + paragraph(footer);
  return out;
}

std::string nested(const std::string& path, const Json& node) {
  std::string out = ".SH COMMANDS\n";
  for (const Json& command : node.at("commands")) {
    const std::string own = path + " " + text_of(command, "name");
    out += fmt::format(".SS {}\n{}", roff(own), paragraph(text_of(command, "summary") + "."));
    out += ".PP\n" + usage_of(own, command) + options_of(command, ".PP\n{}:\n");
  }
  return out;
}

std::string exit_status_section() {
  return ".SH EXIT STATUS\n0 when all went well, 1 for a failure, 2 for wrong usage. An error "
         "is one line on standard error.\n";
}

bool is_of_laboratory(const std::string& name) {
  for (const CommandInfo& info : kCommands)
    if (info.name == name) return info.program == Program::kLaboratory;
  return false;
}

}  // namespace

std::string command_man_page(const Json& command) {
  const std::string name = text_of(command, "name"), path = "talpa " + name;
  const std::string summary = text_of(command, "summary");
  std::string out = title("talpa-" + name);
  out += fmt::format(".SH NAME\ntalpa\\-{} \\- {}\n.SH SYNOPSIS\n", roff(name), roff(summary));
  const bool has_commands = !command.at("commands").empty();
  if (!has_commands) out += usage_of(path, command);
  for (const Json& child : command.at("commands"))
    out += usage_of(path + " " + text_of(child, "name"), child) + ".br\n";
  out += ".SH DESCRIPTION\n" + paragraph(summary + ".");
  if (is_of_laboratory(name))
    out += "The command is carried out by talpa\\-lab, the half of talpa that needs libtorch.\n";
  out += has_commands ? nested(path, command) : leaf(command);
  return out + exit_status_section() + ".SH SEE ALSO\n.BR talpa (1)\n";
}

std::string program_man_page(const Json& tree) {
  std::string out = title("talpa");
  out += fmt::format(".SH NAME\ntalpa \\- {}\n", "mixture\\-of\\-experts models on this machine");
  out += ".SH SYNOPSIS\n\\fBtalpa\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n";
  out += paragraph(text_of(tree, "summary")) + ".SH COMMANDS\n";
  for (const std::string& group : groups_of(tree.at("commands"))) {
    out += fmt::format(".SS {}\n", roff(group));
    for (const Json& command : tree.at("commands"))
      if (text_of(command, "group") == group)
        out += fmt::format(".TP\n.BR talpa\\-{} (1)\n{}", roff(text_of(command, "name")),
                           paragraph(text_of(command, "summary")));
  }
  out += ".SH OPTIONS\n" + options_of(tree, ".SS {}\n");
  out +=
      ".SH ENVIRONMENT\n.TP\n.B TALPA_API_KEY\nThe key that clients of \\fBtalpa serve\\fR must "
      "bring.\n.TP\n.B TALPA_IMPL\nWhich implementation of an operation runs; \\fBtalpa doctor\\fR "
      "shows those there are.\n";
  return out + exit_status_section() + ".SH NOTES\n" + paragraph(text_of(tree, "footer"));
}

}  // namespace talpa::cli
