#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "talpa/base/config.h"

namespace talpa::cli {

/// Options that commands share; a command's own options derive from this.
struct CommonOptions {
  bool json = false;
  bool verbose = false;
  bool quiet = false;
  int threads = 0;
  bool pin = false;
};

/// -v and -q.
void add_log_options(CLI::App& app, CommonOptions& options);
/// --json.
void add_json_option(CLI::App& app, CommonOptions& options);
/// --threads.
void add_threads_option(CLI::App& app, CommonOptions& options);
/// --threads and --pin, where the threads are the engine's.
void add_engine_threads_options(CLI::App& app, CommonOptions& options);

/// Starts the log as the options ask.
void start_log(const CommonOptions& options);

/// Makes `run(options)` what the command does. `options` live as long as the command.
template <class Options>
void on_run(CLI::App& app, std::shared_ptr<Options> options, void (*run)(const Options&)) {
  app.callback([options, run] {
    start_log(*options);
    run(*options);
  });
}

/// Checks of numbers that say what was expected; CLI11's own name all digits of the largest double.
CLI::Validator positive_number();
CLI::Validator no_negative_number();

/// Prints a JSON report on stdout.
void print_json(const Json& json);
/// Writes text to stdout; throws kIo when it cannot (a full disk, a closed pipe).
void print_data(std::string_view text);

/// A file's text, or standard input for "-". Throws kFormat beyond `max_bytes`.
std::string read_input(const std::string& path, std::size_t max_bytes = std::size_t{1} << 30);

}  // namespace talpa::cli
