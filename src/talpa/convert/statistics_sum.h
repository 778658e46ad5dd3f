#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "talpa/convert/calibration.h"
#include "talpa/model/decoder_config.h"
#include "talpa/nn/moe/router.h"
#include "talpa/nn/scope.h"

namespace talpa::convert {

/// Adds up one layer's LayerStatistics batch by batch. Products are in fp64 up to width 1024, in
/// fp32 above; sums of batches in fp64.
class StatisticsSum {
 public:
  struct Options {
    bool expert_inputs = true;  ///< input moments expert by expert, not the layer's only
    bool full_hidden = true;    ///< hidden moments in full, not their diagonals
    /// Share of the rows that goes through all experts for their mean outputs, spread evenly
    /// whatever the text's windows are long.
    double output_share = 1;
  };
  StatisticsSum(const MoeConfig& moe, std::int64_t dim, const Options& options);

  /// Rows x [T, n] of the layer with their routing; `moe` has router, gate, up, down of dense
  /// experts; `importance_T`: by what a row's error counts.
  void add(const at::Tensor& x_TD, const nn::Routing& routing, const nn::Scope& moe,
           const at::Tensor& importance_T);
  LayerStatistics result() const;

 private:
  void add_expert(std::int64_t expert, const at::Tensor& x_SD, const at::Tensor& weight_S,
                  const at::Tensor& importance_S, const nn::Scope& moe);
  at::Tensor output_places(std::int64_t rows) const;
  void add_outputs(const at::Tensor& x_TD, const nn::Scope& moe);

  Options options_;
  LayerStatistics sums_;
  std::int64_t output_rows_ = 0;  ///< rows that went through all experts
};

}  // namespace talpa::convert
