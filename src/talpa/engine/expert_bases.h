#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/engine/held_rows.h"
#include "talpa/kernel/buffer.h"
#include "talpa/model/weights.h"

namespace talpa {

/// Memory that multiplying out experts takes, kept between calls.
struct FormingScratch {
  Buffer<float> mixtures, dense, right, others;
};

/// What the experts of a layer share in one latent, and how each mixes it (LatentConfig), seen with
/// the model width first: B_j^T of gate and up, C_j of down, [n, r] each. Full or of low rank; the
/// projections of plain groups count as bases of which an expert takes its group's.
class ExpertBases {
 public:
  /// `prefix` is "layers.L.moe.", `latent` "gate", "up", "gate_up" or "down". Held as `wanted`, or
  /// as stored. Throws kFormat for a malformed pivot mask.
  ExpertBases(const ModelFiles& files, const std::string& prefix, const std::string& latent,
              std::optional<DType> wanted, ThreadPool& pool);

  std::int64_t dim() const { return dim_; }                ///< n
  std::int64_t latent_dim() const { return latent_dim_; }  ///< r
  std::uint64_t bytes() const;
  /// Bytes read to mix an expert's, on average: of the bases that it gives weight.
  double bytes_of_mixture() const;

  /// S_i [n, r] = f(sum_j mix_ij B_j^T) of every one of `experts`, one after another, in fp32.
  /// Bases without weight are not read; each of the others is read, and if of low rank multiplied
  /// out, once for all experts. Results do not depend on the other experts or on threads. Takes
  /// `bytes` of scratch memory, or what one basis needs.
  void mix(std::span<const int> experts, std::uint64_t bytes, float* s_INR, FormingScratch& scratch,
           ThreadPool& pool) const;

 private:
  class Mixing;

  void read_mix(const ModelFiles& files, const std::string& name);
  bool is_low_rank() const { return rank_ > 0; }

  std::int64_t num_bases_ = 0, dim_ = 0, latent_dim_ = 0, rank_ = 0;
  BasisActivation activation_ = BasisActivation::kNone;
  std::vector<float> mix_NG_;
  HeldRows right_;                   ///< [G n, r]; of low rank V^T or V' [G n, k_b]
  HeldRows left_;                    ///< of low rank: rows of U that are not the identity's
  std::vector<std::int32_t> order_;  ///< of low rank: see basis_order
};

}  // namespace talpa
