// Lists the tensors of a safetensors file or of a model directory, with their bytes and range.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "talpa/base/error.h"
#include "talpa/format/tensor_store.h"

namespace {

void print_tensor(const talpa::TensorView& view) {
  fmt::print("{}  {} {}  {} bytes", view.name, talpa::name_of(view.dtype),
             talpa::to_string(view.shape), view.bytes.size());
  const std::vector<float> values = talpa::read_floats(view);
  if (!values.empty()) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    fmt::print("  from {} to {}", *low, *high);
  }
  fmt::print("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: list_tensors FILE.safetensors|DIRECTORY\n");
    return talpa::exit_status(talpa::ErrorCode::kUsage);
  }
  try {
    const auto store = talpa::open_safetensors(argv[1]);
    for (const auto& [name, view] : store->tensors()) print_tensor(view);
    fmt::print("{} tensors, {} bytes\n", store->tensors().size(), store->total_bytes());
    return 0;
  } catch (const talpa::Error& error) {
    fmt::print(stderr, "list_tensors: {}\n", error.what());
    return talpa::exit_status(error.code());
  }
}
