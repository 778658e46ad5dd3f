#pragma once

#include <ATen/core/Tensor.h>

#include "talpa/convert/method.h"

namespace talpa::convert {

/// Error of one projection, added up expert by expert. The weighted error is that of the layer's
/// output, sum of p^2 |E(x) - E'(x)|^2 over the calibration's rows: for down exactly,
/// tr(E^T H E) with E = W - W' [m, n] as read and the hidden moment H; for gate and up to first
/// order and row by row, sum_j d_j (E R E^T)_jj with the expert's own input moment R and the mean
/// effect d of its rows. Moments are the calibration's own sums: an expert that saw no row counts
/// nothing.
class ErrorSum {
 public:
  ErrorSum(Side side, const LayerStatistics* statistics);
  /// Both [m, n], down transposed, any floating type; computed in the wider of the two.
  void add(std::int64_t expert, const at::Tensor& original_MD, const at::Tensor& approximation_MD);
  ProjectionFit result(double seconds) const;

 private:
  Side side_;
  const LayerStatistics* statistics_;
  ProjectionFit sum_;
};

}  // namespace talpa::convert
