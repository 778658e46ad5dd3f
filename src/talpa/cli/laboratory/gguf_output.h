#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "talpa/convert/options.h"
#include "talpa/model/weights.h"

namespace talpa::cli {

/// How `talpa convert MODEL OUT.gguf` writes tensors.
struct GgufOutput {
  std::string dtype;
  std::string expert_dtype;  ///< empty: as dtype
  std::string shared_dtype;  ///< empty: as dtype
  bool materialise = false;  ///< latent experts are written out under the original architecture
  bool overwrite = false;
};

/// Throws kUsage for a type that is not written.
convert::GgufTypes gguf_types(const GgufOutput& options);

void add_gguf_options(CLI::App& app, GgufOutput& options);
/// Tensors that are stored in the type wanted are copied, not rounded again.
void write_gguf(const ModelFiles& model, const std::string& path, const GgufOutput& options);

}  // namespace talpa::cli
