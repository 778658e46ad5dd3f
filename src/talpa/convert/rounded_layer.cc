// N experts, K experts of a group, G groups or bases, M expert width, D model width, R latent
// width.
#include "talpa/convert/rounded_layer.h"

#include <torch/torch.h>

#include <functional>
#include <optional>

#include "talpa/base/stopwatch.h"
#include "talpa/convert/bases_objective.h"
#include "talpa/convert/error_sum.h"
#include "talpa/convert/metric.h"
#include "talpa/convert/rounding.h"
#include "talpa/convert/stored_bases.h"

namespace talpa::convert {

namespace {

void append(std::vector<std::byte>& bytes, const RoundedMatrix& rounded) {
  bytes.insert(bytes.end(), rounded.bytes.begin(), rounded.bytes.end());
}

bool is_factored(const LatentConfig& latent, Side side) {
  return latent.enabled() && (side == Side::kGate ? latent.factor_gate
                              : side == Side::kUp ? latent.factor_up
                                                  : latent.factor_down);
}

/// One layer's tensors on their way to bytes.
class LayerRounding {
 public:
  LayerRounding(const LayerExperts& experts, const LatentConfig& latent, const ExpertTypes& types,
                LayerFit& fit)
      : experts_(experts), latent_(latent), types_(types), fit_(fit) {
    // Experts that a file repeats are rounded alike, which moments of single ones would break.
    const bool repeated = fit.expert_params > 0;
    if (experts.statistics() != nullptr && !repeated) metric_.emplace(*experts.statistics());
  }

  EncodedTensors run() {
    fit_.projections.clear();
    sort_hidden_units();
    if (latent_.enabled() && latent_.share_gate_up_latent && !latent_.mixed) {
      round_inputs({Side::kGate, Side::kUp}, "gate_up_in");
    } else {
      round_side(Side::kGate);
      round_side(Side::kUp);
    }
    round_side(Side::kDown);
    return std::move(encoded_);
  }

 private:
  std::int64_t num_experts() const {
    return fit_.order.empty() ? experts_.num_experts()
                              : static_cast<std::int64_t>(fit_.order.size());
  }
  /// An expert's number in the original.
  std::int64_t original(std::int64_t expert) const {
    return fit_.order.empty() ? expert : fit_.order[static_cast<std::size_t>(expert)];
  }
  at::Tensor original_MD(Side side, std::int64_t expert) const {
    const at::Tensor read_MD = experts_.read(side, original(expert), 1)[0];
    return order_NM_.defined() ? read_MD.index_select(0, order_NM_[expert]) : read_MD;
  }

  /// Experts' hidden units in the order of their mean square, largest first: down's columns are
  /// rounded in it, and GPTQ does better when what weighs most comes first. What an expert computes
  /// does not depend on it.
  void sort_hidden_units() {
    if (!metric_) return;
    std::vector<at::Tensor> orders;
    for (std::int64_t e = 0; e < num_experts(); ++e)
      orders.push_back(torch::argsort(metric_->hidden(original(e)).diagonal(), /*stable=*/true, 0,
                                      /*descending=*/true));
    order_NM_ = torch::stack(orders);
    for (const Side side : kSides) {
      const auto found = fit_.tensors.find(enum_name(side));
      if (found == fit_.tensors.end()) continue;
      std::vector<at::Tensor> sorted;
      for (std::int64_t e = 0; e < num_experts(); ++e)
        sorted.push_back(found->second[e].index_select(side == Side::kDown ? 1 : 0, order_NM_[e]));
      found->second = torch::stack(sorted);
    }
  }

  void add_error(ErrorSum& sum, std::int64_t expert, const at::Tensor& original_MD,
                 const at::Tensor& rounded_MD) const {
    if (!order_NM_.defined()) return sum.add(original(expert), original_MD, rounded_MD);
    const at::Tensor back_M = torch::argsort(order_NM_[expert]);
    sum.add(original(expert), original_MD.index_select(0, back_M),
            rounded_MD.index_select(0, back_M));
  }
  /// Of what a projection is applied to; undefined without statistics.
  at::Tensor moment(Side side, std::int64_t expert) const {
    if (!metric_) return {};
    if (side != Side::kDown) return metric_->input(original(expert));
    const at::Tensor order_M = order_NM_[expert];
    return metric_->hidden(original(expert)).index_select(0, order_M).index_select(1, order_M);
  }

  /// Without statistics there are no moments.
  ExpertsToRound to_round(std::size_t count, std::function<at::Tensor(std::size_t)> weight,
                          std::function<at::Tensor(std::size_t)> moment) const {
    if (!metric_) moment = nullptr;
    return {count, std::move(weight), std::move(moment)};
  }

  DType own_type(Side side, std::int64_t columns) const {
    return type_in_file(type_of_part(types_, enum_name(side)), columns);
  }

  void round_side(Side side) {
    const Stopwatch watch;
    if (!is_factored(latent_, side))
      round_dense(side);
    else if (latent_.mixed)
      round_mixed(side);
    else if (side == Side::kDown)
      round_outputs();
    else
      return round_inputs({side}, std::string(enum_name(side)) + "_in");
    fit_.projections.back().seconds = watch.elapsed().wall;
  }

  void round_dense(Side side) {
    const bool down = side == Side::kDown;
    const std::string name = enum_name(side);
    const auto found = fit_.tensors.find(name);
    const at::Tensor given = found == fit_.tensors.end() ? at::Tensor() : found->second;
    std::vector<at::Tensor> values;
    ErrorSum error(side, experts_.statistics());
    std::vector<bool> kept(static_cast<std::size_t>(experts_.num_experts()));
    for (std::int64_t e = 0; e < num_experts(); ++e) {
      const at::Tensor expert_MD = original_MD(side, e);
      const at::Tensor as_given = down ? expert_MD.t() : expert_MD;
      const at::Tensor weight_RC = given.defined() ? given[e] : as_given;
      const RoundedMatrix rounded =
          round_blocks(weight_RC, own_type(side, weight_RC.size(1)), moment(side, e));
      append(encoded_[name], rounded);
      add_error(error, e, expert_MD, down ? rounded.values_RC.t() : rounded.values_RC);
      kept[static_cast<std::size_t>(original(e))] = true;
      values.push_back(rounded.values_RC);
    }
    for (std::int64_t e = 0; e < experts_.num_experts(); ++e) {
      if (kept[static_cast<std::size_t>(e)]) continue;
      const at::Tensor gone_MD = experts_.read(side, e, 1)[0];
      error.add(e, gone_MD, torch::zeros_like(gone_MD));
    }
    fit_.tensors[name] = torch::stack(values);
    fit_.projections.push_back(error.result(0));
  }

  /// W_i ~ A_i B of the sides that share B.
  void round_inputs(const std::vector<Side>& sides, const std::string& right_name) {
    const Stopwatch watch;
    at::Tensor right_GRD = fit_.tensors.at(right_name).to(torch::kFloat).clone();
    const std::int64_t groups = right_GRD.size(0), size = num_experts() / groups;
    const FactorTypes types = {.left = own_type(sides.front(), right_GRD.size(1)),
                               .right = type_in_file(types_.shared, right_GRD.size(2))};
    std::vector<ErrorSum> errors;
    std::vector<std::vector<at::Tensor>> lefts(sides.size());
    for (const Side side : sides) errors.emplace_back(side, experts_.statistics());
    for (std::int64_t g = 0; g < groups; ++g) {
      // Sides one after the other, of each the group's experts.
      auto place = [&](std::size_t i) {
        const auto at = static_cast<std::int64_t>(i);
        return std::pair(sides[static_cast<std::size_t>(at / size)], g * size + at % size);
      };
      const ExpertsToRound group = to_round(
          sides.size() * static_cast<std::size_t>(size),
          [&](std::size_t i) { return original_MD(place(i).first, place(i).second); },
          [&](std::size_t i) { return moment(place(i).first, place(i).second); });
      const RoundedFactors rounded = round_input_factors(group, right_GRD[g], types);
      right_GRD[g].copy_(rounded.right.front().values_RC);
      append(encoded_[right_name], rounded.right.front());
      for (std::size_t i = 0; i < group.count; ++i) {
        const std::size_t s = i / static_cast<std::size_t>(size);
        append(encoded_[enum_name(sides[s])], rounded.left[i]);
        lefts[s].push_back(rounded.left[i].values_RC);
        add_error(errors[s], place(i).second, group.weight(i),
                  rounded.left[i].values_RC.matmul(right_GRD[g]));
      }
    }
    fit_.tensors[right_name] = right_GRD;
    for (std::size_t s = 0; s < sides.size(); ++s) {
      fit_.tensors[enum_name(sides[s])] = torch::stack(lefts[s]);
      fit_.projections.push_back(
          errors[s].result(watch.elapsed().wall / static_cast<double>(sides.size())));
    }
  }

  /// W_i ~ C D_i of down.
  void round_outputs() {
    at::Tensor left_GDR = fit_.tensors.at("down_out").to(torch::kFloat).clone();
    at::Tensor right_NRM = fit_.tensors.at("down").to(torch::kFloat).clone();
    const std::int64_t groups = left_GDR.size(0), size = num_experts() / groups;
    const FactorTypes types = {.left = type_in_file(types_.shared, left_GDR.size(2)),
                               .right = own_type(Side::kDown, right_NRM.size(2))};
    ErrorSum error(Side::kDown, experts_.statistics());
    for (std::int64_t g = 0; g < groups; ++g) {
      auto expert = [&](std::size_t i) { return g * size + static_cast<std::int64_t>(i); };
      const ExpertsToRound group = to_round(
          static_cast<std::size_t>(size),
          [&](std::size_t i) { return original_MD(Side::kDown, expert(i)).t(); },
          [&](std::size_t i) { return moment(Side::kDown, expert(i)); });
      const RoundedFactors rounded =
          round_output_factors(group, right_NRM.narrow(0, g * size, size), types);
      left_GDR[g].copy_(rounded.left.front().values_RC);
      append(encoded_["down_out"], rounded.left.front());
      for (std::size_t i = 0; i < group.count; ++i) {
        const std::int64_t e = expert(i);
        right_NRM[e].copy_(rounded.right[i].values_RC);
        append(encoded_["down"], rounded.right[i]);
        add_error(error, e, group.weight(i).t(), left_GDR[g].matmul(right_NRM[e]).t());
      }
    }
    fit_.tensors["down_out"] = left_GDR;
    fit_.tensors["down"] = right_NRM;
    fit_.projections.push_back(error.result(0));
  }

  /// Rounds a stack of shared matrices in the orientation of the file.
  void round_shared(const std::string& name) {
    const auto found = fit_.tensors.find(name);
    if (found == fit_.tensors.end()) return;
    std::vector<at::Tensor> values;
    for (std::int64_t g = 0; g < found->second.size(0); ++g) {
      const at::Tensor weight_RC = found->second[g];
      const RoundedMatrix rounded =
          round_blocks(weight_RC, type_in_file(types_.shared, weight_RC.size(1)));
      append(encoded_[name], rounded);
      values.push_back(rounded.values_RC);
    }
    found->second = torch::stack(values);
  }

  /// W_i ~ A_i f(sum_j mix_ij B_j); down transposed.
  void round_mixed(Side side) {
    const bool down = side == Side::kDown;
    const std::string name = enum_name(side), bases_name = name + (down ? "_out" : "_in");
    round_shared(bases_name);
    round_shared(name + "_basis");
    auto oriented = [&](const std::string& tensor) {
      const auto found = fit_.tensors.find(tensor);
      if (found == fit_.tensors.end()) return at::Tensor();
      return down ? found->second.transpose(1, 2).contiguous() : found->second;
    };
    StoredBases bases;
    bases.activation = latent_.basis_activation;
    bases.mix_NG = fit_.tensors.at(name + "_mix").to(torch::kFloat);
    bases.bases_GYD = oriented(bases_name);
    bases.basis_GXK = oriented(name + "_basis");
    if (bases.basis_GXK.defined()) bases.pivot_GR = fit_.tensors.at(name + "_pivot");
    const at::Tensor bases_GRD = bases.bases_GRD();
    ErrorSum error(side, experts_.statistics());
    std::vector<at::Tensor> values;
    const DType type = own_type(side, down ? experts_.hidden_dim() : bases_GRD.size(1));
    const double noise = rounding_noise(type);
    for (std::int64_t e = 0; e < num_experts(); ++e) {
      const at::Tensor expert_MD = original_MD(side, e), moment_XX = moment(side, e);
      const at::Tensor formed_RD =
          formed_bases(bases.mix_NG.narrow(0, e, 1), bases_GRD, bases.activation)[0];
      const RoundedMatrix own = round_own(side, expert_MD, formed_RD, moment_XX, {type, noise});
      append(encoded_[name], own);
      values.push_back(own.values_RC);
      const at::Tensor own_MR = down ? own.values_RC.t() : own.values_RC;
      add_error(error, e, expert_MD, own_MR.matmul(formed_RD));
    }
    fit_.tensors[name] = torch::stack(values);
    fit_.projections.push_back(error.result(0));
  }

  /// `type` of the own matrix as stored, with its rounding_noise.
  RoundedMatrix round_own(Side side, const at::Tensor& expert_MD, const at::Tensor& formed_RD,
                          const at::Tensor& moment_XX, std::pair<DType, double> type) const {
    const at::Tensor wide_RD = formed_RD.to(torch::kDouble);
    const at::Tensor target_MD = expert_MD.to(torch::kDouble);
    if (side == Side::kDown) {
      const auto own =
          fit_for_rounding(target_MD.matmul(wide_RD.t()), wide_RD.matmul(wide_RD.t()), type.second);
      return round_blocks(own.solution_MR.t(), type.first, moment_XX);
    }
    const at::Tensor seen_RD =
        moment_XX.defined() ? wide_RD.matmul(moment_XX.to(torch::kDouble)) : wide_RD;
    const auto own =
        fit_for_rounding(target_MD.matmul(seen_RD.t()), seen_RD.matmul(wide_RD.t()), type.second);
    return round_blocks(own.solution_MR, type.first, own.gram_RR);
  }

  const LayerExperts& experts_;
  const LatentConfig& latent_;
  const ExpertTypes& types_;
  LayerFit& fit_;
  std::optional<Metric> metric_;
  at::Tensor order_NM_;  ///< places of hidden units in the original; undefined: as they were
  EncodedTensors encoded_;
};

}  // namespace

EncodedTensors round_layer(const LayerExperts& experts, const LatentConfig& latent,
                           const ExpertTypes& types, LayerFit& fit) {
  const torch::NoGradGuard no_grad;
  return LayerRounding(experts, latent, types, fit).run();
}

}  // namespace talpa::convert
