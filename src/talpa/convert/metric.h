#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "talpa/convert/layer_experts.h"

namespace talpa::convert {

/// A layer's moments made fit to solve in, fp64. An expert that saw few rows leans on what is
/// known of the layer: kPriorRows rows of average weight are added, for its inputs with the
/// layer's mean moment, for its hidden activations with equal, uncorrelated ones of the mean size
/// of all experts. An expert that saw none is thus fitted to the layer's inputs and to plain
/// weights of down.
class Metric {
 public:
  static constexpr double kPriorRows = 4;

  explicit Metric(const LayerStatistics& statistics);

  /// Experts have input moments of their own; otherwise they differ in size only.
  bool has_expert_inputs() const { return statistics_.has_expert_inputs(); }
  at::Tensor input(std::int64_t expert) const;                    ///< [n, n]
  at::Tensor input(std::span<const std::int64_t> experts) const;  ///< sum, [n, n]
  at::Tensor hidden(std::int64_t expert) const;                   ///< [m, m]
  /// Weight of an expert's rows of gate or up, [m]: how much an error there moves the layer's
  /// output, mean of (up x silu'(gate x))^2 |down column|^2 or silu(gate x)^2 |down column|^2;
  /// at least a thousandth of the mean over the layer, which an expert without rows has.
  at::Tensor rows(Side side, std::int64_t expert) const;
  /// Sum of p^2 of an expert, kPriorRows average rows included.
  double mass(std::int64_t expert) const;

 private:
  const LayerStatistics& statistics_;
  at::Tensor mean_input_;   ///< [n, n], of kPriorRows rows
  double mean_hidden_ = 0;  ///< of kPriorRows rows
  double mean_mass_ = 0;    ///< of kPriorRows rows
};

/// Throws kUsage naming the layer and the count when a layer's experts saw fewer rows together
/// than inputs have dimensions: its moment would say more about the sample than about the model.
void check_enough_rows(const LayerStatistics& statistics, int layer, std::int64_t dim,
                       const char* method);

}  // namespace talpa::convert
