#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernel/amx_emulation.h"
#include "kernel/kernel_cases.h"
#include "talpa/kernel/amx/bf16_panels.h"
#include "talpa/kernel/amx/block_panels.h"

namespace talpa::testing {

using kernel::PanelFunction;
using kernel::PanelFunctions;
using kernel::PanelTask;

/// Who runs the kernels: their templates on the emulated tiles and plain vectors; the kernels as
/// compiled, with each AMX instruction emulated; the processor.
enum class Runner { kPlain, kTrapped, kHardware };

inline PanelFunctions functions_of(Runner runner) {
  if (runner != Runner::kPlain) return kernel::panel_functions_amx();
  return {.bf16 = kernel::bf16_panels<EmulatedAmx>,
          .q8_0 = kernel::block_panels<EmulatedAmx, kernel::Q8>,
          .q4_0 = kernel::block_panels<EmulatedAmx, kernel::Q40>,
          .q4_1 = kernel::block_panels<EmulatedAmx, kernel::Q41>};
}

inline PanelFunction function_for(const PanelFunctions& functions, DType dtype) {
  kernel::MatmulImplementation any{"", nullptr, nullptr, true, functions};
  return any.function(dtype);
}

struct CaseOptions {
  bool accumulate = false, gathered = false, integers = false;
};

/// One task with its memory; y has a gap behind each row, which must stay as it was.
class AmxCase {
 public:
  AmxCase(DType dtype, const MatmulShape& shape, const CaseOptions& options = {}) : dtype_(dtype) {
    const int stored = options.gathered ? 2 * shape.rows + 3 : shape.rows;
    fill_weights(shape, options.integers);
    fill_activations(stored, shape.in, options.integers);
    for (int r = 0; r < shape.rows; ++r) index_.push_back((r * 7 + 1) % stored);
    task_.row_index = options.gathered ? index_.data() : nullptr;
    task_.rows = shape.rows;
    task_.panels = weights_.panel(0);
    task_.panel_bytes = weights_.panel_bytes();
    task_.num_panels = weights_.num_panels();
    task_.width = shape.out;
    task_.y_stride = shape.out + 5;
    task_.accumulate = options.accumulate;
    before_ = random_floats((shape.rows + 1) * task_.y_stride, 4);
    if (options.integers)
      for (float& v : before_) v = std::round(v * 9);
  }

  std::vector<float> run(PanelFunction function) const { return run(function, 0, task_.rows); }
  /// The whole of y after only `count` rows from `first` on.
  std::vector<float> run(PanelFunction function, int first, int count) const {
    std::vector<float> y = before_;
    PanelTask task = task_;
    task.row_index = task_.row_index == nullptr ? nullptr : task_.row_index + first;
    task.rows = count;
    task.y = y.data() + first * task.y_stride;
    function(task);
    return y;
  }
  std::vector<float> expected() const {
    return run(function_for(kernel::panel_functions_reference(), dtype_));
  }
  const PanelTask& task() const { return task_; }
  /// Activation `k` of stored row `row`, for bf16.
  void set(std::int64_t row, std::int64_t k, float value) {
    x_[row * task_.x_stride + k] = value;
    bf16_[row * task_.x_bf16_stride + k] = float_to_bf16(value);
  }

 private:
  void fill_weights(const MatmulShape& shape, bool integers) {
    std::vector<float> w = random_floats(shape.out * shape.in, 7);
    if (integers)
      for (float& v : w) v = std::round(v * 5);
    ThreadPool pool(1);
    weights_ = pack(rows_of(w.data(), shape.out, shape.in), dtype_, pool);
  }
  void fill_activations(int stored, std::int64_t columns, bool integers) {
    const std::int64_t held = is_quantised(dtype_) ? (columns + 31) / 32 * 32 : columns;
    const std::int64_t even = (held + 1) / 2 * 2, blocks = held / 32;
    x_ = random_floats(stored * held, 3);
    bf16_.resize(stored * even);
    for (int r = 0; r < stored; ++r)
      for (std::int64_t k = 0; k < held; ++k) {
        float& v = x_[r * held + k];
        v = k >= columns ? 0 : integers ? std::round(v * 20) : bf16_to_float(float_to_bf16(v));
        bf16_[r * even + k] = float_to_bf16(v);
      }
    task_ = {.x = x_.data(), .x_stride = held, .x_bf16 = bf16_.data(), .x_bf16_stride = even};
    task_.columns = held;
    if (!is_quantised(dtype_)) return;
    q_.resize(x_.size()), scale_.resize(stored * blocks), sum_.resize(stored * blocks);
    kernel::row_functions_reference().quantise(x_.data(), stored * blocks, q_.data(), scale_.data(),
                                               sum_.data());
    task_.q = q_.data(), task_.q_scale = scale_.data(), task_.q_sum = sum_.data();
  }

  DType dtype_;
  PackedMatrix weights_;
  std::vector<float> x_, scale_, before_;
  std::vector<std::uint16_t> bf16_;
  std::vector<std::int8_t> q_;
  std::vector<std::int32_t> sum_, index_;
  PanelTask task_;
};

inline const std::vector<DType> kAmxTypes = {DType::kBF16, DType::kQ8_0, DType::kQ4_0,
                                             DType::kQ4_1};

}  // namespace talpa::testing
