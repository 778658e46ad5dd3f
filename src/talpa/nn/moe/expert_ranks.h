#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "talpa/collective/communicator.h"
#include "talpa/nn/moe/routed_swiglu.h"

namespace talpa::nn {

/// Whether a parameter has one matrix an expert, which processes share out: moe.gate, .up, .down.
/// Projections of latents belong to all, since latents are made where their rows are.
bool is_expert_parameter(const std::string& name);

/// Bytes of rows that went from one process to another, there, back and for gradients, and those
/// that would have gone as whole rows of the model's width, once for every process that has an
/// expert of the row.
struct ExpertTraffic {
  std::int64_t moved = 0, whole_rows = 0;
};

/// E processes that share the experts of every MoE layer: process r holds experts [r N/E,
/// (r + 1) N/E), and each has rows of its own.
class ExpertRanks {
 public:
  explicit ExpertRanks(collective::Communicator& ranks) : ranks_(ranks) {}

  int size() const { return ranks_.size(); }
  /// This process' share of a parameter [N, ...], and all of it from every process' share.
  at::Tensor share_of(const at::Tensor& whole) const;
  at::Tensor whole_of(const at::Tensor& share) { return ranks_.gather_rows(share); }

  /// routed_swiglu() with `weights` of this process' experts and a plan over all N. What a row or
  /// latent is needed for on a process travels there once; what comes back is summed over that
  /// process' experts. Slots of an expert keep their order: process by process, then as planned.
  /// `rows` are the model's, `width` values each, for the traffic.
  at::Tensor swiglu(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight_S,
                    const SwigluWeights& weights, const SwigluPlan& plan, const RowMap& rows,
                    std::int64_t width);

  const ExpertTraffic& traffic() const { return traffic_; }

 private:
  collective::Communicator& ranks_;
  ExpertTraffic traffic_;
};

}  // namespace talpa::nn
