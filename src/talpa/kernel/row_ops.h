#pragma once

#include <cstdint>
#include <vector>

#include "talpa/kernel/panel_task.h"

namespace talpa {

/// Cosines and sines of rotary positions, [rows, h / 2] each: angle = position * theta^(-2i/h),
/// in fp32 as Hugging Face computes it.
class RotaryTable {
 public:
  RotaryTable(int head_dim, double theta);
  /// Fills the table for these positions.
  void set(const std::vector<int>& positions);
  /// Rotates `heads` neighbouring heads by the angles of row `row` (halves paired, as in Llama).
  void rotate(float* vectors, int heads, std::int64_t row) const;

 private:
  int half_;
  std::vector<float> frequency_, cos_, sin_;
};

}  // namespace talpa
