// S slots sorted by N experts of width M; inputs of width I and J, outputs of width O.
#include "talpa/nn/moe/routed_swiglu.h"

#include <torch/torch.h>

#include "talpa/base/error.h"
#include "talpa/nn/moe/routed_linear.h"
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

// Gradients of all inputs, filled an expert at a time.
class Backward {
 public:
  Backward(const Saved& saved, const SwigluPlan& plan, const at::Tensor& dy)
      : saved_(saved),
        plan_(plan),
        dy_(dy),
        da_(at::zeros_like(saved.a)),
        dweight_S_(at::empty_like(saved.weight_S)),
        dgate_NMI_(zeros_of_unused(saved.gate_NMI, plan.offsets)),
        dup_NMJ_(zeros_of_unused(saved.up_NMJ, plan.offsets)),
        ddown_NOM_(zeros_of_unused(saved.down_NOM, plan.offsets)) {
    if (!saved.one_input) db_ = at::zeros_like(saved.b);
  }

  variable_list run() {
    for_each_range(plan_.offsets, [this](std::int64_t e, RowRange range) { expert(e, range); });
    return {da_, db_, dweight_S_, dgate_NMI_, dup_NMJ_, ddown_NOM_, at::Tensor()};
  }

 private:
  void expert(std::int64_t e, RowRange range) {
    const at::Tensor dy = rows_of(dy_, plan_.down, range);
    const SwigluGradient d =
        swiglu_gradient(range.of(saved_.gate_SM), range.of(saved_.up_SM), range.of(saved_.weight_S),
                        at::mm(dy, saved_.down_NOM.select(0, e)));
    range.of(dweight_S_).copy_(d.weight_S);
    product(ddown_NOM_, e, dy, d.hidden_SM);
    const at::Tensor a = rows_of(saved_.a, plan_.gate, range);
    product(dgate_NMI_, e, d.gate_SM, a);
    product(dup_NMJ_, e, d.up_SM, saved_.one_input ? a : rows_of(saved_.b, plan_.up, range));
    at::Tensor da = at::mm(d.gate_SM, saved_.gate_NMI.select(0, e));
    if (saved_.one_input)
      da.addmm_(d.up_SM, saved_.up_NMJ.select(0, e));
    else
      add_rows(db_, at::mm(d.up_SM, saved_.up_NMJ.select(0, e)), plan_.up, range);
    add_rows(da_, da, plan_.gate, range);
  }

  static void product(at::Tensor& stack, std::int64_t e, const at::Tensor& d, const at::Tensor& x) {
    at::Tensor matrix = stack.select(0, e);
    at::mm_out(matrix, d.t(), x);
  }

  const Saved& saved_;
  const SwigluPlan& plan_;
  at::Tensor dy_, da_, db_, dweight_S_, dgate_NMI_, dup_NMJ_, ddown_NOM_;
};

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
    at::Tensor y = at::zeros({plan.down.num_sources, down_NOM.size(1)}, a.options());
    for_each_range(plan.offsets, [&](std::int64_t e, RowRange range) {
      at::Tensor gate = range.of(gate_SM), up = range.of(up_SM);
      const at::Tensor rows = rows_of(a, plan.gate, range);
      at::mm_out(gate, rows, gate_NMI.select(0, e).t());
      at::mm_out(up, one_input ? rows : rows_of(b, plan.up, range), up_NMJ.select(0, e).t());
      // down(w h) = w down(h), and h is the narrower.
      const at::Tensor hidden = at::silu(gate).mul_(up).mul_(range.of(weight_S).unsqueeze(1));
      add_rows(y, at::mm(hidden, down_NOM.select(0, e).t()), plan.down, range);
    });
    context->save_for_backward({a, b, weight_S, gate_NMI, up_NMJ, down_NOM, gate_SM, up_SM});
    context->saved_data["one_input"] = one_input;
    SavedSwigluPlan::save(context, plan);
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Saved saved(context->get_saved_variables(), context->saved_data["one_input"].toBool());
    return Backward(saved, SavedSwigluPlan::saved(context), gradients[0].contiguous()).run();
  }
};

}  // namespace

at::Tensor routed_swiglu(const at::Tensor& a, const at::Tensor& b, const at::Tensor& weight_S,
                         const SwigluWeights& weights, const SwigluPlan& plan) {
  check(a, b, weight_S, weights, plan);
  const at::Tensor a_rows = a.contiguous();
  const at::Tensor b_rows = a.is_same(b) ? a_rows : b.contiguous();
  return RoutedSwiglu::apply(a_rows, b_rows, weight_S.contiguous(), weights.gate_NMI,
                             weights.up_NMJ, weights.down_NOM, plan);
}

}  // namespace talpa::nn
