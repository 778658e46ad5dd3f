#include "talpa/cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <new>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/base/error.h"
#include "talpa/cli/describe.h"
#include "talpa/cli/formatter.h"
#include "talpa/cli/launch.h"

namespace talpa::cli {

namespace {

std::string saved_command_line;

std::string quoted_command_line(int argc, char** argv) {
  std::string out = "talpa";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool plain = argument.find_first_of(" \t\n'\"\\$`*?;&|<>()#") == std::string_view::npos;
    out += ' ';
    if (plain && !argument.empty()) {
      out += argument;
      continue;
    }
    out += '\'';
    for (const char c : argument) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

const CommandInfo* find_command(std::string_view name) {
  for (const CommandInfo& command : kCommands)
    if (command.name == name) return &command;
  return nullptr;
}

[[noreturn]] void fail_unknown_command(std::string_view name) {
  std::vector<std::string> names;
  for (const CommandInfo& command : kCommands) names.emplace_back(command.name);
  const std::string near = nearest_name(name, names);
  fail(ErrorCode::kUsage, "unknown command '{}'; {}", name,
       near.empty() ? "talpa --help lists them" : fmt::format("did you mean '{}'?", near));
}

/// The command that was asked for, before any option of it is looked at.
const CommandInfo* requested_command(int argc, char** argv) {
  if (argc < 2) return nullptr;
  const std::string_view name = argv[1];
  if (name == "-h" || name == "--help" || name == "--version") return nullptr;
  if (name.starts_with('-'))
    fail(ErrorCode::kUsage, "expected a command before {}; talpa --help lists them", name);
  if (name == kDescribeCommand) return nullptr;
  const CommandInfo* command = find_command(name);
  if (command == nullptr) fail_unknown_command(name);
  return command;
}

/// An unknown option with the nearest one that the command has.
std::string extras_message(const CLI::App& app, const std::string& message) {
  const CLI::App* command = &app;
  for (auto used = command->get_subcommands(); !used.empty(); used = command->get_subcommands())
    command = used.front();
  const std::vector<std::string> extras = command->remaining(true);
  if (extras.empty()) return message;
  std::vector<std::string> names;
  for (const CLI::Option* option : command->get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  const std::string& extra = extras.front();
  const std::string near = extra.starts_with("--") ? nearest_name(extra, names) : "";
  return fmt::format("{} does not take {}; {}", command->get_display_name(), extra,
                     near.empty() ? "see its --help" : fmt::format("did you mean {}?", near));
}

/// One line of valid UTF-8: messages quote names from files, which may hold anything.
std::string printable(std::string message) {
  for (char& c : message)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return Json::parse(Json(message).dump(-1, ' ', false, Json::error_handler_t::replace))
      .get<std::string>();
}

/// libtorch puts the place in its sources and the calls behind its messages.
std::string without_stack(const std::string& message) {
  return message.substr(
      0, std::min(message.find("\nException raised from "), message.find("\nframe #")));
}

int report_error(const std::string& message, int status) {
  fmt::print(stderr, "talpa: error: {}\n", printable(message));
  return status;
}

int parse_and_run(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ExtrasError& error) {
    return report_error(extras_message(app, error.what()), exit_status(ErrorCode::kUsage));
  } catch (const CLI::ParseError& error) {
    return report_error(error.what(), exit_status(ErrorCode::kUsage));
  }
  if (std::fflush(stdout) != 0) fail(ErrorCode::kIo, "cannot write to standard output");
  return 0;
}

int dispatch(const ProgramInfo& program, int argc, char** argv) {
  const CommandInfo* command = requested_command(argc, argv);
  if (command != nullptr && command->program == Program::kLaboratory &&
      program.program == Program::kRuntime)
    start_laboratory(*command, argc, argv);
  const auto app = make_app(program);
  if (argc < 2) {
    fmt::print(stderr, "{}", app->help());
    return exit_status(ErrorCode::kUsage);
  }
  return parse_and_run(*app, argc, argv);
}

}  // namespace

const std::string& command_line() { return saved_command_line; }

const char* version() { return TALPA_VERSION; }

std::unique_ptr<CLI::App> make_app(const ProgramInfo& program) {
  auto app = std::make_unique<CLI::App>(
      "Trains, converts, evaluates and runs mixture-of-experts models.", "talpa");
  auto formatter = std::make_shared<HelpFormatter>();
  formatter->label("Positionals", "Arguments");
  formatter->label("SUBCOMMAND", "COMMAND");
  app->formatter(formatter);
  app->option_defaults()->always_capture_default();
  app->set_help_flag("-h,--help", "Print this help");
  app->set_version_flag("--version", program.version_line, "Print the version");
  app->require_subcommand(1);
  for (const CommandInfo& info : kCommands) {
    CLI::App* command = app->add_subcommand(std::string(info.name), info.summary);
    command->group(info.group);
    for (const CommandSetup& own : program.commands)
      if (own.name == info.name) own.setup(*command);
  }
  add_describe_command(*app);
  app->footer("talpa COMMAND --help shows the options of a command.");
  return app;
}

int run_program(const ProgramInfo& program, int argc, char** argv) {
  saved_command_line = quoted_command_line(argc, argv);
  try {
    return dispatch(program, argc, argv);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInterrupted) {
      fmt::print(stderr, "talpa: {}\n", error.what());
      return exit_status(error.code());
    }
    return report_error(error.what(), exit_status(error.code()));
  } catch (const std::bad_alloc&) {
    return report_error("out of memory", 1);
  } catch (const std::exception& error) {
    return report_error(without_stack(error.what()), 1);
  }
}

}  // namespace talpa::cli
