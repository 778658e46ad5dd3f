#include "talpa/kernel/matmul.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "talpa/base/error.h"
#include "talpa/kernel/implementation.h"
#include "talpa/kernel/panel_layout.h"

namespace talpa {

namespace {

using kernel::kBlock;
using kernel::kPanelRows;

bool takes_int8(DType held) {
  return is_quantised(held) && kernel::matmul_implementation(held).quantised_activations;
}
bool takes_bf16(DType held) {
  return held == DType::kBF16 && kernel::matmul_implementation(held).bf16_activations;
}

/// Consecutive panels of one product.
struct Piece {
  int product, first_panel, num_panels;
};

/// Multiply-adds worth waking a thread for.
constexpr std::int64_t kSmallWork = 32 * 1024;
/// Pieces a thread, so that uneven ones even out.
constexpr std::int64_t kPiecesPerThread = 4;

/// Elements from a rounded row to the next: an odd number of cache lines, so that the rows of a
/// tile do not meet in one set of the first-level cache.
std::int64_t bf16_stride(std::int64_t columns) {
  constexpr std::int64_t kLine = 32;
  return ((columns + kLine - 1) / kLine | 1) * kLine;
}

/// Rows of so many columns that are worth a thread's while.
std::int64_t rows_in_grain(std::int64_t columns) {
  return std::max<std::int64_t>(1, kSmallWork / std::max<std::int64_t>(columns, 1));
}

std::int64_t work_of(const Product& p) { return p.rows * p.weight->rows() * p.weight->columns(); }

/// Cuts products into pieces of about equal work; a few rows get at least four panels at once.
template <class Products, class ProductOf>
std::vector<Piece> cut(const Products& products, const ProductOf& product_of, int threads) {
  std::int64_t work = 0;
  for (const auto& item : products) work += work_of(product_of(item));
  const std::int64_t pieces =
      std::max<std::int64_t>(threads > 1 ? threads * kPiecesPerThread : 1, 1);
  const std::int64_t target = std::max(kSmallWork, work / pieces + 1);
  std::vector<Piece> cuts;
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Product& p = product_of(products[i]);
    if (p.rows == 0) continue;
    const std::int64_t panel_work =
        std::max<std::int64_t>(p.rows * p.weight->columns() * kPanelRows, 1);
    const std::int64_t least = p.rows <= 3 ? 4 : 1;
    const int panels = p.weight->num_panels();
    const int step = static_cast<int>(
        std::min<std::int64_t>(std::max(least, (target / panel_work + 3) / 4 * 4), panels));
    for (int first = 0; first < panels; first += step)
      cuts.push_back({static_cast<int>(i), first, std::min(step, panels - first)});
  }
  return cuts;
}

void run_panels(const Product& p, int first_panel, int num_panels, float* y,
                std::int64_t y_stride) {
  const kernel::MatmulImplementation& impl = kernel::matmul_implementation(p.weight->dtype());
  kernel::PanelTask task;
  p.x->fill(task, p.weight->dtype());
  task.row_index = p.row_index;
  task.rows = p.rows;
  task.panels = p.weight->panel(first_panel);
  task.panel_bytes = p.weight->panel_bytes();
  task.num_panels = num_panels;
  task.y = y;
  task.y_stride = y_stride;
  task.width =
      std::min<std::int64_t>(p.weight->rows() - first_panel * kPanelRows, num_panels * kPanelRows);
  impl.function(p.weight->dtype())(task);
}

void check(const Product& p) {
  if (p.x->columns() != p.weight->columns())
    fail(ErrorCode::kShape, "a matrix of {} columns cannot multiply rows of {} elements",
         p.weight->columns(), p.x->columns());
}

}  // namespace

void Activations::set(const float* x, std::int64_t rows, std::int64_t columns,
                      std::int64_t stride) {
  x_ = x;
  rows_ = rows;
  columns_ = columns;
  stride_ = stride;
  blocks_ = (columns + kBlock - 1) / kBlock;
  quantised_ = rounded_ = false;
}

void Activations::prepare(DType held, ThreadPool& pool) {
  if (takes_int8(held) && !std::exchange(quantised_, true)) quantise(pool);
  if (takes_bf16(held) && !std::exchange(rounded_, true)) round_to_bf16(pool);
}

void Activations::round_to_bf16(ThreadPool& pool) {
  const std::int64_t even = (columns_ + 1) / 2 * 2, stride = bf16_stride(columns_);
  std::uint16_t* rounded = bf16_.resize(static_cast<std::size_t>(rows_ * stride));
  const auto& functions = kernel::row_functions();
  pool.parallel_for(rows_, rows_in_grain(columns_), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      rounded[r * stride + even - 1] = 0;
      functions.to_bf16(x_ + r * stride_, rounded + r * stride, columns_);
    }
  });
}

void Activations::quantise(ThreadPool& pool) {
  const auto count = static_cast<std::size_t>(rows_ * blocks_);
  std::int8_t* q = q_.resize(count * kBlock);
  float* scale = scale_.resize(count);
  std::int32_t* sum = sum_.resize(count);
  const auto& functions = kernel::row_functions();
  const std::int64_t whole = columns_ / kBlock, rest = columns_ % kBlock;
  pool.parallel_for(rows_, rows_in_grain(columns_), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* x = x_ + r * stride_;
      const std::int64_t b = r * blocks_;
      functions.quantise(x, whole, q + b * kBlock, scale + b, sum + b);
      if (rest == 0) continue;
      float last[kBlock] = {};
      std::copy_n(x + whole * kBlock, rest, last);
      functions.quantise(last, 1, q + (b + whole) * kBlock, scale + b + whole, sum + b + whole);
    }
  });
}

void Activations::fill(kernel::PanelTask& task, DType held) const {
  const bool int8 = takes_int8(held), bf16 = takes_bf16(held);
  TALPA_CHECK((!int8 || quantised_) && (!bf16 || rounded_));
  task.x = x_;
  task.x_stride = stride_;
  task.columns = int8 ? blocks_ * kBlock : columns_;
  if (bf16) {
    task.x_bf16 = bf16_.data();
    task.x_bf16_stride = bf16_stride(columns_);
  }
  if (!int8) return;
  task.q = q_.data();
  task.q_scale = scale_.data();
  task.q_sum = sum_.data();
}

void run_products(std::span<const Product> products, ThreadPool& pool) {
  for (const Product& p : products) check(p);
  const std::vector<Piece> pieces = cut(
      products, [](const Product& p) -> const Product& { return p; }, pool.size());
  pool.parallel_for(static_cast<std::int64_t>(pieces.size()), 1,
                    [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t i = begin; i < end; ++i) {
                        const Piece& piece = pieces[i];
                        const Product& p = products[piece.product];
                        run_panels(p, piece.first_panel, piece.num_panels,
                                   p.y + piece.first_panel * kPanelRows, p.y_stride);
                      }
                    });
}

void run_gated_products(std::span<const GatedProduct> products, ThreadPool& pool) {
  for (const GatedProduct& p : products) {
    check(p.gate);
    check(p.up);
    TALPA_CHECK(p.gate.rows == p.up.rows && p.gate.weight->rows() == p.up.weight->rows());
  }
  const std::vector<Piece> pieces = cut(
      products, [](const GatedProduct& p) -> const Product& { return p.gate; }, pool.size());
  const auto& functions = kernel::row_functions();
  auto run = [&](const Piece& piece) {
    thread_local Buffer<float> up;
    const GatedProduct& p = products[piece.product];
    const std::int64_t first = piece.first_panel * kPanelRows;
    const std::int64_t stride = piece.num_panels * kPanelRows;
    const std::int64_t width = std::min(stride, p.gate.weight->rows() - first);
    up.resize(static_cast<std::size_t>(p.gate.rows * stride));
    run_panels(p.gate, piece.first_panel, piece.num_panels, p.y + first, p.y_stride);
    run_panels(p.up, piece.first_panel, piece.num_panels, up.data(), stride);
    for (int r = 0; r < p.gate.rows; ++r) {
      float* y = p.y + r * p.y_stride + first;
      functions.silu_mul(y, up.data() + r * stride, y, width);
    }
  };
  pool.parallel_for(static_cast<std::int64_t>(pieces.size()), 1,
                    [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t i = begin; i < end; ++i) run(pieces[i]);
                    });
}

void matmul(Activations& x, const PackedMatrix& weight, float* y, ThreadPool& pool) {
  x.prepare(weight.dtype(), pool);
  const Product product{&weight, &x, nullptr, static_cast<int>(x.rows()), y, weight.rows()};
  run_products({&product, 1}, pool);
}

}  // namespace talpa
