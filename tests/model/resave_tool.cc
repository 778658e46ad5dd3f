// resave_tool MODEL OUTPUT [TYPE]: opens a model and writes it again, as a Hugging Face directory
// or, if OUTPUT ends in .gguf, as a GGUF. For scripts/interop.
#include <iostream>

#include "talpa/model/weights.h"

namespace talpa {
namespace {

void resave(const std::filesystem::path& from, const std::filesystem::path& to, DType dtype) {
  const ModelFiles files = open_model(from);
  const WeightProvider provider = [&](const WeightSpec& spec, float* target) {
    files.at(spec.name).read(target);
  };
  if (to.extension() == ".gguf") {
    save_gguf(to, files.config, provider, {.dtype = dtype, .overwrite = true});
  } else {
    save_hf_directory(to, files.config, provider, {.dtype = dtype, .overwrite = true});
  }
}

}  // namespace
}  // namespace talpa

int main(int argc, char** argv) {
  const auto dtype = talpa::dtype_named(argc > 3 ? argv[3] : "f32");
  if (argc < 3 || argc > 4 || !dtype) {
    std::cerr << "usage: resave_tool MODEL OUTPUT [f32|f16|bf16|q8_0|q4_0|q4_1]\n";
    return 2;
  }
  try {
    talpa::resave(argv[1], argv[2], *dtype);
  } catch (const talpa::Error& error) {
    std::cerr << error.what() << "\n";
    return talpa::exit_status(error.code());
  }
  return 0;
}
