#include "talpa/cli/laboratory/gguf_output.h"

#include "talpa/convert/convert.h"

namespace talpa::cli {

namespace {

DType gguf_type(const char* option, const std::string& name) {
  const auto dtype = dtype_named(name);
  if (!dtype || !is_written(*dtype))
    fail(ErrorCode::kUsage, "{} {}: expected one of {}", option, name, written_types());
  return *dtype;
}

}  // namespace

convert::GgufTypes gguf_types(const GgufOutput& options) {
  auto type = [&](const char* option, const std::string& name) {
    return gguf_type(name.empty() ? "--dtype" : option, name.empty() ? options.dtype : name);
  };
  const DType expert = type("--expert-dtype", options.expert_dtype);
  return {.dtype = type("--dtype", options.dtype),
          .experts = {{.gate = expert,
                       .up = expert,
                       .down = expert,
                       .shared = type("--shared-dtype", options.shared_dtype)}}};
}

void add_gguf_options(CLI::App& app, GgufOutput& options) {
  app.add_option("--expert-dtype", options.expert_dtype,
                 "GGUF: type of the experts' own matrices, instead of --dtype");
  app.add_option("--shared-dtype", options.shared_dtype,
                 "GGUF: type of the factors that latent experts share");
}

void write_gguf(const ModelFiles& model, const std::string& path, const GgufOutput& options) {
  GgufSaveOptions save;
  const convert::GgufTypes types = gguf_types(options);
  save.dtype = types.dtype;
  save.expert_dtype = types.experts[0].gate;
  save.shared_dtype = types.experts[0].shared;
  save.overwrite = options.overwrite;
  save.tokenizer_from = convert::tokenizer_folder(model);
  // What an earlier conversion said of a file that is replaced.
  const auto forget_report = [&] { std::filesystem::remove(path + ".json"); };
  if (options.materialise && model.config.moe.latent.enabled()) {
    save_gguf(path, convert::materialised_config(model.config),
              convert::materialising_provider(model), save);
    return forget_report();
  }
  save.encoded = [&](const WeightSpec& spec, DType dtype, std::span<std::byte> target) {
    return convert::copy_stored(model.at(spec.name), dtype, target);
  };
  const WeightProvider provider = [&](const WeightSpec& spec, float* target) {
    model.at(spec.name).read(target);
  };
  save_gguf(path, model.config, provider, save);
  forget_report();
}

}  // namespace talpa::cli
