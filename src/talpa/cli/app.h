#pragma once

#include <memory>
#include <span>
#include <string>

#include "talpa/cli/commands.h"

namespace talpa::cli {

/// The version, e.g. "0.1.0".
const char* version();

/// One of the two programs.
struct ProgramInfo {
  Program program;
  std::string version_line;                ///< what --version prints
  std::span<const CommandSetup> commands;  ///< those it carries out itself
};

/// The whole command tree of `program`; commands of the other program are there by name only.
std::unique_ptr<CLI::App> make_app(const ProgramInfo& program);

/// Parses and runs a command line; returns the exit status. Every error becomes one line
/// "talpa: error: ..." on stderr.
int run_program(const ProgramInfo& program, int argc, char** argv);

/// The command line as it was given, quoted for a shell.
const std::string& command_line();

/// Commands of the runtime program.
std::span<const CommandSetup> runtime_commands();

}  // namespace talpa::cli
