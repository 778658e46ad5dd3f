#include "talpa/format/tensor_store.h"

#include <fmt/ranges.h>

#include "talpa/base/config.h"
#include "talpa/base/error.h"

namespace talpa {

std::int64_t num_elements(const Shape& shape) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) fail(ErrorCode::kFormat, "shape {} has a negative size", to_string(shape));
    // A zero does not excuse the other sizes: their product must still be a number.
    empty = empty || size == 0;
    if (size > 0 && __builtin_mul_overflow(count, size, &count))
      fail(ErrorCode::kFormat, "shape {} has more elements than 63 bits can count",
           to_string(shape));
  }
  return empty ? 0 : count;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

const TensorView* TensorStore::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& TensorStore::at(const std::string& name) const {
  if (const TensorView* view = find(name)) return *view;
  std::vector<std::string> names;
  for (const auto& [known, view] : tensors_) names.push_back(known);
  const std::string near = nearest_name(name, names);
  fail(ErrorCode::kNotFound, "{} has no tensor {}{}", path_.string(), name,
       near.empty() ? "" : fmt::format("; the nearest name is {}", near));
}

std::uint64_t TensorStore::total_bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, view] : tensors_) total += view.bytes.size();
  return total;
}

void TensorStore::release(std::span<const std::byte> bytes) const {
  for (const MappedFile& file : files_) file.release(bytes);
}

std::vector<float> read_floats(const TensorView& view) {
  const std::int64_t count = num_elements(view.shape);
  TALPA_CHECK(bytes_of(view.dtype, static_cast<std::uint64_t>(count)) == view.bytes.size());
  std::vector<float> values(static_cast<std::size_t>(count));
  to_float(view.dtype, view.bytes.data(), values.data(), count);
  return values;
}

}  // namespace talpa
