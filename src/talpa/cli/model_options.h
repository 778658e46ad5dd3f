#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "talpa/cli/options.h"
#include "talpa/engine/model.h"

namespace talpa::cli {

/// How to run latent experts.
struct ExpertOptions {
  std::string experts = "auto";
  std::optional<std::uint32_t> expert_cache;  ///< MiB; none = the engine's choice

  void apply(EngineOptions& engine) const;
};

/// MODEL and how to hold it.
struct ModelOptions : ExpertOptions {
  std::string model;
  std::string dtype;    ///< empty = as stored
  std::string kv_type;  ///< empty = as the model's types ask for
};

/// MODEL, a positional that is required.
void add_model_argument(CLI::App& app, ModelOptions& options);
/// --dtype, --kv-type, --experts and --expert-cache.
void add_dtype_option(CLI::App& app, ModelOptions& options);
/// The last two of them.
std::vector<CLI::Option*> add_expert_options(CLI::App& app, ExpertOptions& options);

/// Type that `name` asks matrices to be held in; nullopt for "". Throws kUsage for a type that
/// weights cannot be held in.
std::optional<DType> held_dtype(const std::string& name);
EngineOptions engine_options(const CommonOptions& common, const ModelOptions& options);

/// Warns where `tokens` lie beyond the positions that the model was trained on.
void warn_beyond_positions(const LoadedModel& loaded, std::int64_t tokens, const char* option);

/// Tokenizer of a model directory, a GGUF or a tokenizer.json, without opening the weights.
std::shared_ptr<const Tokenizer> open_tokenizer(const std::string& path);
/// The tokenizer of a loaded model; throws kNotFound when it has none.
const Tokenizer& tokenizer_of(const LoadedModel& loaded);

}  // namespace talpa::cli
