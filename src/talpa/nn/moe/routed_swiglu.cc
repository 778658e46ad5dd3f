// S slots sorted by N experts of width M; inputs of width I and J, outputs of width O.
#include "talpa/nn/moe/routed_swiglu.h"

#include <torch/torch.h>

#include <array>

#include "talpa/base/error.h"
#include "talpa/nn/moe/grouped_products.h"
#include "talpa/nn/saved_value.h"
#include "talpa/nn/swiglu.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using SavedSwigluPlan = SavedValue<SwigluPlan>;

void check(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight_S,
           const SwigluWeights& weights, const SwigluPlan& plan) {
  const auto num_experts = static_cast<std::int64_t>(plan.offsets.size()) - 1;
  const std::int64_t num_slots = plan.offsets.back(), width = weights.gate_NMI.size(1);
  for (const at::Tensor& w : {weights.gate_NMI, weights.up_NMJ, weights.down_NOM})
    TALPA_CHECK(w.dim() == 3 && w.size(0) == num_experts);
  for (const RowMap* map : {&plan.gate, &plan.up, &plan.down})
    TALPA_CHECK(map->num_targets() == num_slots);
  TALPA_CHECK(weights.up_NMJ.size(1) == width && weights.down_NOM.size(2) == width);
  TALPA_CHECK(a.size(0) == plan.gate.num_sources && a.size(1) == weights.gate_NMI.size(2));
  TALPA_CHECK(b.size(0) == plan.up.num_sources && b.size(1) == weights.up_NMJ.size(2));
  TALPA_CHECK(weight_S.dim() == 1 && weight_S.size(0) == num_slots);
}

// What a backward reads, in the order in which it is saved.
struct Saved {
  at::Tensor a, b, weight_S, gate_NMI, up_NMJ, down_NOM, gate_SM, up_SM;
  bool one_input;

  Saved(const variable_list& v, bool one_input)
      : a(v[0]),
        b(v[1]),
        weight_S(v[2]),
        gate_NMI(v[3]),
        up_NMJ(v[4]),
        down_NOM(v[5]),
        gate_SM(v[6]),
        up_SM(v[7]),
        one_input(one_input) {}
};

variable_list gradients_of(const Saved& saved, const SwigluPlan& plan, const at::Tensor& dy) {
  const std::vector<std::int64_t>& offsets = plan.offsets;
  at::Tensor dhidden_SM = at::empty_like(saved.gate_SM);
  multiply_slots(offsets, {dy, &plan.down}, saved.down_NOM, Multiply::kPlain, dhidden_SM);
  const SwigluGradient d = swiglu_gradient(saved.gate_SM, saved.up_SM, saved.weight_S, dhidden_SM);
  at::Tensor ddown_NOM = at::empty_like(saved.down_NOM);
  multiply_outer(offsets, {dy, &plan.down}, {d.hidden_SM}, ddown_NOM);
  at::Tensor dgate_NMI = at::empty_like(saved.gate_NMI), dup_NMJ = at::empty_like(saved.up_NMJ);
  multiply_outer(offsets, {d.gate_SM}, {saved.a, &plan.gate}, dgate_NMI);
  multiply_outer(offsets, {d.up_SM}, {saved.b, &plan.up}, dup_NMJ);
  at::Tensor da = at::zeros_like(saved.a), db;
  const SlotFactor gate{d.gate_SM, saved.gate_NMI}, up{d.up_SM, saved.up_NMJ};
  if (saved.one_input) {
    add_slots(offsets, std::array{gate, up}, Multiply::kPlain, plan.gate, da);
  } else {
    db = at::zeros_like(saved.b);
    add_slots(offsets, {&gate, 1}, Multiply::kPlain, plan.gate, da);
    add_slots(offsets, {&up, 1}, Multiply::kPlain, plan.up, db);
  }
  return {da, db, d.weight_S, dgate_NMI, dup_NMJ, ddown_NOM, at::Tensor()};
}

// Whether gate and up read the same rows, as those of dense experts do.
bool reads_one_input(const at::Tensor& a, const at::Tensor& b, const SwigluPlan& plan) {
  return a.is_same(b) && plan.gate.index.is_same(plan.up.index);
}

struct RoutedSwiglu : torch::autograd::Function<RoutedSwiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& a, const at::Tensor& b,
                            const at::Tensor& weight_S, const at::Tensor& gate_NMI,
                            const at::Tensor& up_NMJ, const at::Tensor& down_NOM,
                            const SwigluPlan& plan) {
    const std::int64_t num_slots = weight_S.size(0), width = gate_NMI.size(1);
    at::Tensor gate_SM = at::empty({num_slots, width}, a.options());
    at::Tensor up_SM = at::empty_like(gate_SM);
    const bool one_input = reads_one_input(a, b, plan);
    multiply_slots(plan.offsets, {a, &plan.gate}, gate_NMI, Multiply::kTransposed, gate_SM);
    multiply_slots(plan.offsets, {b, &plan.up}, up_NMJ, Multiply::kTransposed, up_SM);
    // down(w h) = w down(h), and h is the narrower.
    const SlotFactor down{swiglu_value(gate_SM, up_SM, weight_S), down_NOM};
    at::Tensor y = at::zeros({plan.down.num_sources, down_NOM.size(1)}, a.options());
    add_slots(plan.offsets, {&down, 1}, Multiply::kTransposed, plan.down, y);
    context->save_for_backward({a, b, weight_S, gate_NMI, up_NMJ, down_NOM, gate_SM, up_SM});
    context->saved_data["one_input"] = one_input;
    SavedSwigluPlan::save(context, plan);
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Saved saved(context->get_saved_variables(), context->saved_data["one_input"].toBool());
    return gradients_of(saved, SavedSwigluPlan::saved(context), gradients[0].contiguous());
  }
};

}  // namespace

at::Tensor routed_swiglu(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight_S,
                         const SwigluWeights& weights, const SwigluPlan& plan) {
  check(a, b, weight_S, weights, plan);
  const at::Tensor a_rows = a.contiguous();
  const at::Tensor b_rows = a.is_same(b) ? a_rows : b.contiguous();
  return RoutedSwiglu::apply(a_rows, b_rows, weight_S.contiguous(), weights.gate_NMI.contiguous(),
                             weights.up_NMJ.contiguous(), weights.down_NOM.contiguous(), plan);
}

}  // namespace talpa::nn
