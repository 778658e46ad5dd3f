#include "talpa/model/open_model.h"

#include "talpa/format/gguf.h"
#include "talpa/format/hf_directory.h"
#include "talpa/model/encoder_files.h"

namespace talpa {

ModelFiles open_model(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    fail(ErrorCode::kNotFound, "{} does not exist", path.string());
  if (std::filesystem::is_directory(path, ignored)) {
    if (is_encoder(path))
      fail(
          ErrorCode::kUnsupported,
          "{} is an encoder, which makes vectors of texts: `talpa embed` and `talpa serve` take it",
          path.string());
    return open_hf_model(path);
  }
  if (is_gguf(path)) return open_gguf_model(path);
  if (path.filename() == "config.json" || path.extension() == ".safetensors")
    fail(ErrorCode::kFormat, "{} is one file of a model; name its directory instead",
         path.string());
  fail(ErrorCode::kFormat,
       "{} is neither a Hugging Face directory (with config.json) nor a GGUF file", path.string());
}

}  // namespace talpa
