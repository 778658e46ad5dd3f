#include "talpa/engine/read_factors.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/kernel/panel_layout.h"

namespace talpa {

void transpose(const float* x, std::int64_t rows, std::int64_t columns, float* y) {
  constexpr std::int64_t kTile = 16;
  for (std::int64_t r = 0; r < rows; r += kTile)
    for (std::int64_t c = 0; c < columns; ++c)
      for (std::int64_t i = r; i < std::min(rows, r + kTile); ++i)
        y[c * rows + i] = x[i * columns + c];
}

DType held_type_of(const ModelFiles& files, const std::string& name, std::optional<DType> wanted) {
  try {
    return held_type(files.at(name).dtype(), wanted);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}: {}", files.path.string(), name, error.what());
  }
}

std::uint64_t packed_bytes(std::int64_t rows, std::int64_t columns, DType dtype) {
  return static_cast<std::uint64_t>((rows + kernel::kPanelRows - 1) / kernel::kPanelRows *
                                    kernel::panel_bytes_of(dtype, columns));
}

HeldRows read_factors(const ModelFiles& files, const std::string& name, bool transposed,
                      std::optional<DType> wanted, ThreadPool& pool) {
  const Weight& weight = files.at(name);
  const std::int64_t count = weight.shape[0];
  const std::int64_t rows = weight.shape[transposed ? 2 : 1];
  const std::int64_t columns = weight.shape[transposed ? 1 : 2];
  HeldRows held(count * rows, columns, held_type_of(files, name, wanted));
  pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> stored(static_cast<std::size_t>(rows * columns));
    std::vector<float> turned(transposed ? stored.size() : 0);
    for (std::int64_t i = begin; i < end; ++i) {
      weight.slice(i).read(stored.data());
      if (transposed) transpose(stored.data(), columns, rows, turned.data());
      held.write(i * rows, rows, transposed ? turned.data() : stored.data());
    }
  });
  for (const TensorView& piece : weight.pieces) files.store->release(piece.bytes);
  return held;
}

}  // namespace talpa
