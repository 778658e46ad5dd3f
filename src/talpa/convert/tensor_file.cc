#include "talpa/convert/tensor_file.h"

#include <torch/torch.h>

#include <cstring>

#include "talpa/base/error.h"
#include "talpa/format/safetensors_writer.h"

namespace talpa::convert {

namespace {

std::span<const std::byte> raw_bytes(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

DType stored_type(const at::Tensor& tensor) {
  if (tensor.scalar_type() == torch::kDouble) return DType::kF64;
  TALPA_CHECK(tensor.scalar_type() == torch::kFloat);
  return DType::kF32;
}

}  // namespace

void save_tensors(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, tensor] : tensors)
    entries.push_back({name, stored_type(tensor), tensor.sizes().vec()});
  SafetensorsWriter writer(path, std::move(entries));
  for (const auto& [name, tensor] : tensors)
    writer.write(name, raw_bytes(tensor.detach().cpu().contiguous()));
  writer.finish();
}

std::optional<NamedTensors> load_tensors(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  NamedTensors tensors;
  const auto store = open_safetensors(path);
  for (const auto& [name, view] : store->tensors()) {
    if (view.dtype != DType::kF32 && view.dtype != DType::kF64)
      fail(ErrorCode::kFormat, "{}: {} is {}, expected F32 or F64", path.string(), name,
           name_of(view.dtype));
    at::Tensor values =
        torch::empty(view.shape, view.dtype == DType::kF64 ? torch::kDouble : torch::kFloat);
    std::memcpy(values.data_ptr(), view.bytes.data(), view.bytes.size());
    tensors[name] = values;
  }
  return tensors;
}

}  // namespace talpa::convert
