#include "talpa/kernel/row_ops.h"

#include <cmath>

#include "talpa/kernel/implementation.h"

namespace talpa {

RotaryTable::RotaryTable(int head_dim, double theta)
    : half_(head_dim / 2), frequency_(static_cast<std::size_t>(head_dim / 2)) {
  for (int i = 0; i < half_; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    frequency_[i] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
}

void RotaryTable::set(const std::vector<int>& positions) {
  cos_.resize(positions.size() * frequency_.size());
  sin_.resize(cos_.size());
  std::size_t at = 0;
  for (const int position : positions)
    for (const float frequency : frequency_) {
      const float angle = static_cast<float>(position) * frequency;
      cos_[at] = std::cos(angle);
      sin_[at++] = std::sin(angle);
    }
}

void RotaryTable::rotate(float* vectors, int heads, std::int64_t row) const {
  const float* cos = cos_.data() + row * half_;
  const float* sin = sin_.data() + row * half_;
  const auto rotate = kernel::row_functions().rotate;
  for (int i = 0; i < heads; ++i)
    rotate(vectors + static_cast<std::int64_t>(i) * 2 * half_, cos, sin, half_);
}

}  // namespace talpa
