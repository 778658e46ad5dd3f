#include "format/memory_file.h"
#include "fuzz/fuzz.h"
#include "talpa/format/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace talpa;
  return fuzz::run(data, size, [](std::string_view bytes) {
    const testing::MemoryFile file(bytes);
    const auto store = GgufFile::open(file.path());
    fuzz::require(store->total_bytes() <= bytes.size(), "tensors lie inside the file");
    for (const auto& [name, view] : store->tensors()) read_floats(view);
    for (const auto& [key, value] : store->metadata()) value.dump();
  });
}
