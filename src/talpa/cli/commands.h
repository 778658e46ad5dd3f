#pragma once

#include <string_view>

namespace CLI {
class App;
}

namespace talpa::cli {

/// Which program carries a sub-command out: `talpa` itself, or `talpa-lab`, which has libtorch and
/// is started in its place.
enum class Program { kRuntime, kLaboratory };

/// Adds a command's options to its CLI::App and says what to run (see options.h).
using Setup = void (*)(CLI::App& app);

/// One sub-command as it stands in --help.
struct CommandInfo {
  std::string_view name;
  const char* group;
  const char* summary;
  Program program;
};

/// Every sub-command of both programs, in the order of --help. A new one is a row here, a file
/// runtime/<name>.cc or laboratory/<name>.cc that defines its Setup, and a row in
/// runtime/registry.cc or laboratory/registry.cc.
inline constexpr CommandInfo kCommands[] = {
    {"generate", "Run", "Continue a prompt", Program::kRuntime},
    {"chat", "Run", "Talk with a model", Program::kRuntime},
    {"serve", "Run", "Answer over HTTP, as the OpenAI API does", Program::kRuntime},
    {"embed", "Run", "Turn texts into vectors", Program::kRuntime},
    {"eval", "Run", "Measure a model on text", Program::kRuntime},
    {"tokenize", "Run", "Turn text into token ids and back", Program::kRuntime},
    {"convert", "Shrink", "Rewrite an MoE with latent experts", Program::kLaboratory},
    {"calibrate", "Shrink", "Record what a model's experts see, for convert", Program::kLaboratory},
    {"compare", "Shrink", "Quality, bytes and speed of models side by side", Program::kRuntime},
    {"inspect", "Shrink", "What a model is, and what latent experts would make of it",
     Program::kRuntime},
    {"carve", "Carve", "Rewrite a dense model with experts", Program::kLaboratory},
    {"train", "Train", "Train a model from a recipe", Program::kLaboratory},
    {"launch", "Train", "Run a command as several processes of this host", Program::kRuntime},
    {"runs", "Train", "List training runs with their last numbers", Program::kRuntime},
    {"plot", "Train", "Curves of training runs as one page", Program::kRuntime},
    {"tokenizer", "Train", "Train a tokenizer", Program::kRuntime},
    {"bench", "Tools", "How fast this machine is, and what share of its limits talpa reaches",
     Program::kRuntime},
    {"doctor", "Tools", "What this machine offers, and what will be slow", Program::kRuntime},
    {"completion", "Tools", "Print a shell's completion script", Program::kRuntime},
    {"man", "Tools", "Print a manual page", Program::kRuntime},
};

/// A name with its Setup.
struct CommandSetup {
  std::string_view name;
  Setup setup;
};

}  // namespace talpa::cli
