#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "talpa/base/random.h"
#include "talpa/kernel/implementation.h"
#include "talpa/kernel/matmul.h"
#include "talpa/kernel/packed_matrix.h"

namespace talpa::testing {

/// The one table of shapes: rows of activations, rows and columns of weights.
struct MatmulShape {
  int rows;
  std::int64_t out, in;
};
inline const std::vector<MatmulShape> kMatmulShapes = {
    {1, 16, 32},  {1, 1, 1},     {1, 17, 64},   {1, 576, 576}, {2, 33, 96},
    {3, 100, 40}, {4, 16, 31},   {5, 80, 257},  {6, 47, 512},  {7, 128, 96},
    {8, 64, 320}, {13, 31, 513}, {25, 200, 64}, {67, 48, 300}, {130, 24, 1000}};

inline const std::vector<DType> kHeldTypes = {DType::kF32,  DType::kF16,  DType::kBF16,
                                              DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};

inline std::vector<float> random_floats(std::int64_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = static_cast<float>(random.normal());
  return values;
}

/// The implementation `name` of products is used until the end of the scope.
class WithMatmul {
 public:
  explicit WithMatmul(const std::string& name) {
    kernel::choose_implementations({.matmul = name, .rows = ""});
  }
  ~WithMatmul() { kernel::choose_implementations({}); }
  WithMatmul(const WithMatmul&) = delete;
  WithMatmul& operator=(const WithMatmul&) = delete;
};

inline std::vector<float> product(const std::vector<float>& x, int rows, const PackedMatrix& w,
                                  ThreadPool& pool) {
  Activations activations;
  activations.set(x.data(), rows, w.columns());
  std::vector<float> y(static_cast<std::size_t>(rows * w.rows()), NAN);
  matmul(activations, w, y.data(), pool);
  return y;
}

/// Largest difference relative to the norms that bound it: |a - b| / sqrt(columns).
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    largest = std::isnan(d) ? INFINITY : std::max(largest, d);
  }
  return largest;
}

}  // namespace talpa::testing
