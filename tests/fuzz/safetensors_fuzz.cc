#include "format/memory_file.h"
#include "fuzz/fuzz.h"
#include "talpa/format/safetensors_index.h"
#include "talpa/format/tensor_store.h"

/// Input that begins as a JSON object does is an index of shards; other input is a file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace talpa;
  return fuzz::run(data, size, [](std::string_view bytes) {
    const testing::MemoryFile file(bytes);
    if (bytes.starts_with("{\"")) {
      for (const auto& [tensor, shard] : read_safetensors_index(file.path()))
        fuzz::require(shard.find('/') == shard.npos, "shards lie beside the index");
      return;
    }
    const auto store = open_safetensors(file.path());
    fuzz::require(store->total_bytes() <= bytes.size(), "tensors lie inside the file");
    for (const auto& [name, view] : store->tensors())
      fuzz::require(read_floats(view).size() == static_cast<std::size_t>(num_elements(view.shape)),
                    "every tensor can be read");
  });
}
