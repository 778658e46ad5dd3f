#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "talpa/nn/moe/row_map.h"

namespace talpa::nn {

/// A row for every slot: rows[map(s)], or rows[s] without a map.
struct SlotRows {
  at::Tensor rows;  ///< [.., w]
  const RowMap* map = nullptr;
};

/// How N matrices [N, o, i] multiply rows: x W^T takes i to o values, x W takes o to i.
enum class Multiply { kTransposed, kPlain };

/// Products of slots, sorted by matrix, with N matrices: slots [offsets[e], offsets[e + 1]) belong
/// to matrix e. All without autograd. On a CPU fp32 goes through the runtime's kernels, which take
/// rows from where they lie; other types and devices through at::mm, a matrix at a time. Sums run
/// in the order of slots, whatever the number of threads.

/// N matrices made ready to multiply slots more than once.
class PackedMatrices {
 public:
  PackedMatrices(const at::Tensor& weight_NOI, Multiply how)
      : PackedMatrices(weight_NOI, how, {}) {}
  /// Of a batch alone: matrices without slots are left out.
  PackedMatrices(const at::Tensor& weight_NOI, Multiply how, std::span<const std::int64_t> offsets);

  /// y[s] = x[s] W_e^T or x[s] W_e.
  void multiply(std::span<const std::int64_t> offsets, const SlotRows& x, at::Tensor& y_SW) const;

 private:
  at::Tensor weight_NOI_;
  Multiply how_;
  at::Tensor packed_;  ///< [N, floats of a matrix]; undefined where at::mm multiplies
};

/// y[s] = x[s] W_e^T or x[s] W_e.
void multiply_slots(const std::vector<std::int64_t>& offsets, const SlotRows& x,
                    const at::Tensor& weight_NOI, Multiply how, at::Tensor& y_SW);

/// Rows of slots and what multiplies them.
struct SlotFactor {
  at::Tensor rows_SW, weight_NOI;
};
/// sum[map(s)] += the products of all factors, x[s] W_e^T or x[s] W_e.
void add_slots(const std::vector<std::int64_t>& offsets, std::span<const SlotFactor> factors,
               Multiply how, const RowMap& map, at::Tensor& sum);

/// product[e] (+)= sum over the slots of e of a[s] outer b[s]: [N, width of a, width of b]; zeros
/// for a matrix without slots.
void multiply_outer(const std::vector<std::int64_t>& offsets, const SlotRows& a, const SlotRows& b,
                    at::Tensor& product_NAB, bool accumulate = false);

}  // namespace talpa::nn
