#include "talpa/nn/recompute.h"

#include <torch/torch.h>

#include "talpa/base/error.h"
#include "talpa/nn/saved_value.h"

namespace talpa::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using RepeatableBody = std::function<variable_list(const at::Tensor&)>;

struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const RepeatableBody& body) {
    context->save_for_backward({x});
    SavedValue<RepeatableBody>::save(context, body);
    return body(x);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::AutoGradMode enable(true);
    const at::Tensor x = context->get_saved_variables()[0].detach().requires_grad_(true);
    variable_list outputs = SavedValue<RepeatableBody>::saved(context)(x), roots, directions;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].requires_grad() || !gradients[i].defined()) continue;
      roots.push_back(outputs[i]);
      directions.push_back(gradients[i]);
    }
    torch::autograd::backward(roots, directions);
    return {x.grad(), at::Tensor()};
  }
};

}  // namespace

std::vector<at::Tensor> recomputed(const at::Tensor& x, RepeatableBody body) {
  if (!at::GradMode::is_enabled()) return body(x);
  TALPA_CHECK(x.requires_grad());
  return Recomputed::apply(x, body);
}

}  // namespace talpa::nn
