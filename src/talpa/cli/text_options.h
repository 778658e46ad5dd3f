#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "talpa/cli/options.h"
#include "talpa/eval/perplexity.h"

namespace talpa::cli {

/// A text to score and how to cut it.
struct TextOptions {
  std::string file;
  bool ids = false;
  std::int64_t max_tokens = 0;
  WindowOptions windows;
  std::string convention = "talpa";
  int batch = 8;
};

void add_text_options(CLI::App& app, TextOptions& options, const char* file_option,
                      bool required = true);

/// Reads, tokenizes and cuts the text for a model.
ScoringText scoring_text(const TextOptions& options, const LoadedModel& loaded);

}  // namespace talpa::cli
