#include <algorithm>
#include <cstring>

#include "talpa/model/weights.h"

namespace talpa {
namespace {

/// Stored bytes of one row of the weight seen as a matrix of shape.back() columns.
std::uint64_t bytes_of_row(const Weight& weight) {
  return bytes_of(weight.dtype(), static_cast<std::uint64_t>(weight.shape.back()));
}

/// Calls visit(piece, bytes) for the stored bytes of rows [first, first + count).
template <class Visit>
void for_rows(const Weight& weight, std::int64_t first, std::int64_t count, Visit&& visit) {
  const std::uint64_t row_bytes = bytes_of_row(weight);
  std::uint64_t skip = static_cast<std::uint64_t>(first) * row_bytes;
  std::uint64_t wanted = static_cast<std::uint64_t>(count) * row_bytes;
  for (const TensorView& piece : weight.pieces) {
    if (wanted == 0) return;
    if (skip >= piece.bytes.size()) {
      skip -= piece.bytes.size();
      continue;
    }
    const std::uint64_t take = std::min<std::uint64_t>(wanted, piece.bytes.size() - skip);
    visit(piece, piece.bytes.subspan(skip, take));
    wanted -= take;
    skip = 0;
  }
  if (wanted > 0) fail(ErrorCode::kInternal, "{} bytes past the end of a weight", wanted);
}

}  // namespace

std::uint64_t Weight::bytes() const {
  std::uint64_t total = 0;
  for (const TensorView& piece : pieces) total += piece.bytes.size();
  return total;
}

void Weight::read(float* target) const {
  for (const TensorView& piece : pieces) {
    const std::int64_t count = num_elements(piece.shape);
    to_float(piece.dtype, piece.bytes.data(), target, count);
    target += count;
  }
}

void Weight::read_rows(std::int64_t first, std::int64_t count, std::byte* target) const {
  for_rows(*this, first, count, [&](const TensorView&, std::span<const std::byte> rows) {
    std::memcpy(target, rows.data(), rows.size());
    target += rows.size();
  });
}

Weight Weight::slice(std::int64_t index) const {
  if (shape.size() < 2 || index < 0 || index >= shape.front())
    fail(ErrorCode::kInternal, "slice {} of a weight of shape {}", index, to_string(shape));
  Weight part{Shape(shape.begin() + 1, shape.end()), {}};
  const std::int64_t columns = shape.back();
  const std::int64_t rows = num_elements(shape) / columns / shape.front();
  const std::uint64_t row_bytes = bytes_of_row(*this);
  const auto append = [&](const TensorView& piece, std::span<const std::byte> bytes) {
    const auto taken = static_cast<std::int64_t>(bytes.size() / row_bytes);
    part.pieces.push_back({piece.name, piece.dtype, {taken, columns}, bytes});
  };
  for_rows(*this, index * rows, rows, append);
  return part;
}

const Weight& ModelFiles::at(const std::string& name) const {
  const auto it = weights.find(name);
  if (it == weights.end())
    fail(ErrorCode::kNotFound, "{}: the model has no tensor {}", path.string(), name);
  return it->second;
}

}  // namespace talpa
