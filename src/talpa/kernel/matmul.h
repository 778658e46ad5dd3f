#pragma once

#include <cstdint>
#include <span>

#include "talpa/base/threads.h"
#include "talpa/kernel/buffer.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/kernel/panel_task.h"

namespace talpa {

/// Rows of activations ready to be multiplied. F32, F16 and BF16 weights take them as fp32, BF16
/// ones as bf16 where the chosen implementation multiplies pairs of bf16 (as llama.cpp does too).
/// Block formats take them as int8 in blocks of 32 with an fp32 scale max|x|/127 and multiply in
/// integers, as llama.cpp does (which rounds the scale to fp16): about 0.4 % error an element,
/// well below that of the weights. TALPA_IMPL=matmul:float_activations keeps fp32 instead.
class Activations {
 public:
  /// Rows [rows, columns] of floats `stride` apart; the memory must outlive the products.
  void set(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t stride);
  void set(const float* x, std::int64_t rows, std::int64_t columns) {
    set(x, rows, columns, columns);
  }
  /// Makes ready for weights held as `held`; work is done once whatever the number of calls.
  void prepare(DType held, ThreadPool& pool);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  /// Fills the activation part of a task.
  void fill(kernel::PanelTask& task, DType held) const;

 private:
  const float* x_ = nullptr;
  std::int64_t rows_ = 0, columns_ = 0, stride_ = 0, blocks_ = 0;
  void quantise(ThreadPool& pool);
  void round_to_bf16(ThreadPool& pool);

  bool quantised_ = false, rounded_ = false;
  Buffer<std::uint16_t> bf16_;
  Buffer<std::int8_t> q_;
  Buffer<float> scale_;
  Buffer<std::int32_t> sum_;
};

/// y_RN = x_RK weight_NK^T for `rows` rows of `x`, chosen by `row_index` or the first ones.
struct Product {
  const PackedMatrix* weight = nullptr;
  const Activations* x = nullptr;
  const std::int32_t* row_index = nullptr;
  int rows = 0;
  float* y = nullptr;
  std::int64_t y_stride = 0;
};

/// y_RM = silu(gate product) * up product; their inputs may differ (latents).
struct GatedProduct {
  Product gate, up;  ///< y of both unused; equal rows and weight rows
  float* y = nullptr;
  std::int64_t y_stride = 0;
};

/// Independent products, split over the pool by panels. Each element is summed by one thread in
/// the order of the columns: results depend neither on threads nor on the other rows.
void run_products(std::span<const Product> products, ThreadPool& pool);
void run_gated_products(std::span<const GatedProduct> products, ThreadPool& pool);

/// y_RN = x_RK weight^T, all rows of x. Throws kShape when columns differ.
void matmul(Activations& x, const PackedMatrix& weight, float* y, ThreadPool& pool);

}  // namespace talpa
