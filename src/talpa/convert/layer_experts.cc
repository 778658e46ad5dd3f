// N experts, M expert width, D model width.
#include "talpa/convert/layer_experts.h"

#include <torch/torch.h>

#include "talpa/convert/read_tensor.h"

namespace talpa::convert {

namespace {

/// Experts [first, first + count) of one projection, as read() gives them.
at::Tensor read_experts(const ModelFiles& model, const std::string& name, bool transposed,
                        std::int64_t first, std::int64_t count) {
  const Weight& weight = model.at(name);
  at::Tensor experts_NXX = torch::empty({count, weight.shape[1], weight.shape[2]}, torch::kFloat);
  for (std::int64_t i = 0; i < count; ++i) {
    const Weight expert = weight.slice(first + i);
    expert.read(experts_NXX[i].data_ptr<float>());
    release(model, expert);
  }
  return transposed ? experts_NXX.transpose(1, 2).contiguous() : experts_NXX;
}

}  // namespace

LayerExperts::LayerExperts(const ModelFiles& model, int layer, const LayerStatistics* statistics)
    : layer_(layer),
      num_experts_(model.config.moe.num_experts),
      dim_(model.config.dim),
      hidden_dim_(model.config.moe.hidden_dim),
      statistics_(statistics) {
  TALPA_CHECK(model.config.is_moe_layer(layer) && !model.config.moe.latent.enabled());
  const std::string prefix = fmt::format("layers.{}.moe.", layer);
  read_ = [&model, prefix](Side side, std::int64_t first, std::int64_t count) {
    return read_experts(model, prefix + enum_name(side), side == Side::kDown, first, count);
  };
  router_ = [&model, prefix] { return read_tensor(model.at(prefix + "router")); };
}

LayerExperts::LayerExperts(int layer, Tensors tensors, const LayerStatistics* statistics)
    : layer_(layer),
      num_experts_(tensors.gate_NMD.size(0)),
      dim_(tensors.gate_NMD.size(2)),
      hidden_dim_(tensors.gate_NMD.size(1)),
      statistics_(statistics) {
  const auto shape = tensors.gate_NMD.sizes();
  TALPA_CHECK(tensors.up_NMD.sizes() == shape && tensors.down_NMD.sizes() == shape);
  router_ = [router_ND = tensors.router_ND] { return router_ND; };
  read_ = [tensors = std::move(tensors)](Side side, std::int64_t first, std::int64_t count) {
    const at::Tensor& all = side == Side::kGate ? tensors.gate_NMD
                            : side == Side::kUp ? tensors.up_NMD
                                                : tensors.down_NMD;
    return all.narrow(0, first, count).to(torch::kFloat);
  };
}

at::Tensor LayerExperts::read(Side side, std::int64_t first, std::int64_t count) const {
  TALPA_CHECK(first >= 0 && count >= 0 && first + count <= num_experts_);
  return read_(side, first, count);
}

at::Tensor LayerExperts::router() const { return router_(); }

}  // namespace talpa::convert
