#include "talpa/cli/model_options.h"

#include <filesystem>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/format/gguf.h"

namespace talpa::cli {

namespace {
namespace fs = std::filesystem;
const CLI::IsMember kHeldTypes({"f32", "bf16", "q8_0", "q4_0", "q4_1"});
}  // namespace

void add_model_argument(CLI::App& app, ModelOptions& options) {
  app.add_option("MODEL", options.model, "Hugging Face directory or GGUF file")
      ->type_name("MODEL")
      ->required();
}

void add_dtype_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--dtype", options.dtype, "Type to hold weights in (default: as stored)")
      ->check(kHeldTypes);
  app.add_option("--kv-type", options.kv_type,
                 "Type to hold keys and values in (default: f16; f32 with --dtype f32)")
      ->check(CLI::IsMember({"f32", "f16"}));
  add_expert_options(app, options);
}

std::vector<CLI::Option*> add_expert_options(CLI::App& app, ExpertOptions& options) {
  return {app.add_option("--experts", options.experts,
                         "Run latent experts as they are, or multiplied out while loading")
              ->check(CLI::IsMember({"auto", "latent", "dense"})),
          app.add_option("--expert-cache", options.expert_cache,
                         "Memory for experts multiplied out as tokens come to them (default: a "
                         "quarter of what all take)")
              ->type_name("MIB")};
}

void ExpertOptions::apply(EngineOptions& engine) const {
  read_config(Json(experts), engine.experts, "--experts");
  if (expert_cache) engine.expert_cache = std::uint64_t{*expert_cache} << 20;
}

std::optional<DType> held_dtype(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto dtype = dtype_named(name);
  if (!dtype || !kHeldTypes(const_cast<std::string&>(name)).empty())
    fail(ErrorCode::kUsage, "weights cannot be held as '{}'; one of f32, bf16, q8_0, q4_0, q4_1",
         name);
  return dtype;
}

void warn_beyond_positions(const LoadedModel& loaded, std::int64_t tokens, const char* option) {
  const int positions = loaded.model->config().max_positions;
  if (positions > 0 && tokens > positions)
    log::warn("{} asks for {} tokens, the model was made for {}", option, tokens, positions);
}

EngineOptions engine_options(const CommonOptions& common, const ModelOptions& options) {
  EngineOptions engine{.weights = held_dtype(options.dtype),
                       .kv_type = dtype_named(options.kv_type),
                       .threads = common.threads,
                       .pin = common.pin};
  options.apply(engine);
  return engine;
}

std::shared_ptr<const Tokenizer> open_tokenizer(const std::string& path) {
  if (!fs::exists(path)) fail(ErrorCode::kNotFound, "{} does not exist", path);
  if (fs::is_directory(path)) {
    const fs::path file = fs::path(path) / "tokenizer.json";
    if (!fs::exists(file)) fail(ErrorCode::kNotFound, "{} has no tokenizer.json", path);
    return Tokenizer::from_file(file);
  }
  if (is_gguf(path)) return Tokenizer::from_gguf(*GgufFile::open(path));
  return Tokenizer::from_file(path);
}

const Tokenizer& tokenizer_of(const LoadedModel& loaded) {
  if (!loaded.tokenizer)
    fail(ErrorCode::kNotFound, "{} has no tokenizer.json", loaded.files.path.string());
  return *loaded.tokenizer;
}

}  // namespace talpa::cli
