#include "talpa/cli/options.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>

#include "talpa/base/error.h"
#include "talpa/base/file.h"
#include "talpa/base/log.h"

namespace talpa::cli {

namespace {
constexpr const char* kCommonGroup = "Common";
constexpr int kMaxThreads = 1024;
}  // namespace

void add_log_options(CLI::App& app, CommonOptions& options) {
  CLI::Option* verbose = app.add_flag("-v,--verbose", options.verbose, "Say more on stderr");
  verbose->group(kCommonGroup);
  app.add_flag("-q,--quiet", options.quiet, "Say errors only")
      ->group(kCommonGroup)
      ->excludes(verbose);
}

void add_json_option(CLI::App& app, CommonOptions& options) {
  app.add_flag("--json", options.json, "Print the report as JSON")->group(kCommonGroup);
}

void add_threads_option(CLI::App& app, CommonOptions& options) {
  app.add_option("--threads", options.threads, "Threads to use, 0 = one for each available core")
      ->check(CLI::Range(0, kMaxThreads))
      ->type_name("N")
      ->group(kCommonGroup);
}

void add_engine_threads_options(CLI::App& app, CommonOptions& options) {
  add_threads_option(app, options);
  app.add_flag("--pin", options.pin, "Keep every thread on a processor of its own")
      ->group(kCommonGroup);
}

void start_log(const CommonOptions& options) {
  talpa::start_log(options.quiet ? -1 : options.verbose ? 1 : 0);
}

namespace {

template <class Good>
CLI::Validator number_check(const char* expected, Good good) {
  return CLI::Validator(
      [expected, good](const std::string& text) {
        double value = 0;
        return CLI::detail::lexical_cast(text, value) && good(value)
                   ? std::string()
                   : fmt::format("expected {}, got {}", expected, text);
      },
      "");
}

}  // namespace

CLI::Validator positive_number() {
  return number_check("a positive number", [](double value) { return value > 0; });
}

CLI::Validator no_negative_number() {
  return number_check("a number from 0 on", [](double value) { return value >= 0; });
}

void print_data(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail(ErrorCode::kIo, "cannot write to standard output");
}

void print_json(const Json& json) {
  print_data(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string read_input(const std::string& path, std::size_t max_bytes) {
  if (path != "-") return read_text(path, max_bytes);
  std::string text;
  std::array<char, 65536> buffer;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    text.append(buffer.data(), n);
    if (text.size() > max_bytes)
      fail(ErrorCode::kFormat, "standard input is longer than {} bytes", max_bytes);
  }
  if (std::ferror(stdin) != 0) fail(ErrorCode::kIo, "cannot read standard input");
  return text;
}

}  // namespace talpa::cli
