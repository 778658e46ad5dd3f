#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "talpa/convert/layer_experts.h"
#include "talpa/convert/options.h"
#include "talpa/model/decoder_config.h"

namespace talpa::convert {

/// How well one projection of one layer was met: sums over its experts. W original, W' what the
/// new tensors stand for. Weighted: what that does to the layer's output on calibration text (see
/// error_sum.h).
struct ProjectionFit {
  Side side = Side::kGate;
  double squared_error = 0;  ///< |W - W'|_F^2
  double squared_norm = 0;   ///< |W|_F^2
  std::optional<double> weighted_error, weighted_norm;
  double seconds = 0;
};

/// A layer's new experts.
struct LayerFit {
  /// By the names of model/weights.h behind "layers.L.moe.", in the target's shapes, any floating
  /// type: "gate", "gate_in", "gate_mix", "down_out", ... What is left out is copied from the
  /// original; "router" too unless its rows change. A selection bias follows `order`.
  std::map<std::string, at::Tensor> tensors;
  std::vector<ProjectionFit> projections;  ///< of what was changed, in the order of Side
  /// Parameters that the layer's experts take in the method's own form, where the file has none
  /// for it and repeats or multiplies out; 0 = as many as the tensors have.
  std::int64_t expert_params = 0;
  /// Numbers in the original of the experts in their new order; empty: as they were.
  std::vector<std::int64_t> order;
};

/// In which tensors of a LayerFit are best kept: as the file will hold them, or as a rounding or a
/// product wants them.
at::ScalarType kept_type(const ConvertOptions& options);

struct FitContext {
  const ConvertOptions& options;
  /// A folder of this layer's own, for work that is to survive an interruption: the same layer
  /// and options find it again. Empty: nothing is to be kept.
  std::filesystem::path scratch;
  /// Share of this layer that is done, and a word on how it stands. May throw to stop the fit.
  std::function<void(double done, const std::string& note)> progress = [](double,
                                                                          const std::string&) {};
};

/// What the directions of a layer's latents hold, [n] fp64, best first: the sum behind the first r
/// is what a width of r loses. Into the experts (gate, up) and out of them (down); undefined where
/// nothing is factored.
struct LayerSpectra {
  at::Tensor in_D, out_D;
  bool apart = false;  ///< they measure the same, so that each latent may have its own width
};

/// A way to make a model with fewer expert parameters. Stateless: one instance serves all layers.
class Method {
 public:
  virtual ~Method() = default;
  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;
  /// A calibration must be given; others use it where they can.
  virtual bool needs_statistics() const { return false; }
  /// Takes steps, a learning rate and a weighting; for others these are refused.
  virtual bool is_iterative() const { return false; }
  /// Factors down as well as gate and up where nothing else is asked for.
  virtual bool factors_down_by_default() const { return false; }

  /// Description of what comes out, from a budget or explicit settings. Throws kUsage for options
  /// that contradict each other, kConfig with the reason for what does not fit or would grow.
  virtual DecoderConfig plan(const DecoderConfig& original,
                             const ConvertOptions& options) const = 0;
  virtual LayerFit fit(const LayerExperts& experts, const DecoderConfig& target,
                       const FitContext& context) const = 0;
  /// What each direction of a latent holds of the layer, in a unit that all layers share. Throws
  /// kUsage where a method has none.
  virtual LayerSpectra spectra(const LayerExperts& experts, const DecoderConfig& target,
                               const FitContext& context) const;
  /// Seconds that fit() of this layer will take, from a small timed part of it, within a quarter.
  virtual double estimate_seconds(const LayerExperts& experts, const DecoderConfig& target,
                                  const FitContext& context) const = 0;
};

/// Throws kUsage listing the known names.
const Method& method_named(const std::string& name);
const std::vector<const Method*>& methods();

}  // namespace talpa::convert
