#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "talpa/model/decoder_config.h"

namespace talpa::convert {

/// The routed experts of one layer in one projection, seen so that the factored side comes last:
/// gate and up as [N, m, n]; down transposed to [N, m, n] as well (its output side is shared).
struct Projection {
  std::string name;        ///< "gate", "up" or "down"
  at::Tensor experts_EMD;  ///< N experts, m expert width, n model width; fp32
};

/// Low-rank experts of one projection: W_i ~ left_i right_{g(i)} (mole.md 1.2).
struct Factors {
  at::Tensor left_EMR;       ///< N experts, m, r
  at::Tensor right_GRD;      ///< G groups, r, n
  double squared_error = 0;  ///< sum over experts of |W_i - left_i right_g|_F^2
  double squared_norm = 0;   ///< sum over experts of |W_i|_F^2
};

struct FitOptions {
  int latent_dim = 0;  ///< r
  int group_size = 0;  ///< k, divides N
  /// First phase of the paper: every expert is cut to this rank before stacking; 0 = skipped.
  int reduce_rank = 0;
};

/// A way to find latent experts. Projections that are passed together share their right factor
/// (gate and up of a shared latent); otherwise a call has one.
class Method {
 public:
  virtual ~Method() = default;
  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;
  /// One Factors a projection, in their order. Throws kConfig for options that do not fit.
  virtual std::vector<Factors> fit(const std::vector<Projection>& projections,
                                   const FitOptions& options) const = 0;
};

/// Throws kUsage listing the known names.
const Method& method_named(const std::string& name);
const std::vector<const Method*>& methods();

}  // namespace talpa::convert
