// B sequences, T tokens, D model width, V vocabulary.
#include "talpa/nn/decoder.h"

#include <torch/torch.h>

#include <string>

#include "talpa/base/error.h"
#include "talpa/nn/attention.h"
#include "talpa/nn/cross_entropy.h"
#include "talpa/nn/feed_forward.h"
#include "talpa/nn/init.h"
#include "talpa/nn/precision.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/norm.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {
namespace {

void check_tokens(const at::Tensor& tokens_BT, int vocab_size) {
  if (tokens_BT.dim() != 2 || tokens_BT.scalar_type() != at::kLong || tokens_BT.numel() == 0)
    fail(ErrorCode::kShape, "Decoder::forward: expected int64 tokens [sequences, tokens]");
  const auto [least, most] = tokens_BT.aminmax();
  if (least.item<std::int64_t>() < 0 || most.item<std::int64_t>() >= vocab_size)
    fail(ErrorCode::kShape, "Decoder::forward: token ids {} to {} are not all in [0, {})",
         least.item<std::int64_t>(), most.item<std::int64_t>(), vocab_size);
}

// What layers leave behind besides their output.
void add_moe(ForwardResult& result, const MoeOutput& output, int layer,
             const ForwardOptions& options) {
  result.balance_loss = result.balance_loss + output.balance_loss;
  result.z_loss = result.z_loss + output.z_loss;
  if (options.record_routing) result.routing.push_back({layer, output.rows_per_expert});
}

}  // namespace

Decoder::Decoder(const DecoderConfig& config, at::ScalarType dtype) : config_(config) {
  config_.validate("model");
  for (const WeightSpec& spec : weight_specs(config_))
    parameters_[spec.name] = at::empty(spec.shape, dtype);
}

Decoder::~Decoder() = default;

void Decoder::initialise(std::uint64_t seed) { nn::initialise(parameters_, config_, seed); }

void Decoder::load(const ModelFiles& files) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : parameters_) {
    const Weight& weight = files.at(name);
    if (at::IntArrayRef(weight.shape) != tensor.sizes())
      fail(ErrorCode::kShape, "{}: {} has shape {}, the description says {}", files.path.string(),
           name, to_string(weight.shape), to_string(tensor.sizes().vec()));
    at::Tensor values = at::empty(weight.shape, at::kFloat);
    weight.read(values.data_ptr<float>());
    tensor.copy_(values);
  }
}

void Decoder::set_requires_grad(bool on) {
  for (auto& [name, tensor] : parameters_) tensor.requires_grad_(on);
}

ForwardResult Decoder::forward(const at::Tensor& tokens_BT, const ForwardOptions& options) const {
  check_tokens(tokens_BT, config_.vocab_size);
  const Scope model(parameters_);
  const AttentionOptions attention_options{config_.attention, config_.norm_eps};
  const RotaryTables tables = rotary_tables(tokens_BT.size(1), config_.attention.head_dim,
                                            config_.attention.rope_theta);
  ForwardResult result;
  at::Tensor x_BTD = at::embedding(model.at("embed"), tokens_BT);
  const auto zero = at::zeros({}, x_BTD.options().dtype(wide_type(x_BTD.scalar_type())));
  result.balance_loss = result.z_loss = zero;
  for (int l = 0; l < config_.num_layers; ++l) {
    const Scope layer = model.in("layers." + std::to_string(l));
    const at::Tensor attended_BTD =
        rms_norm(x_BTD, layer.at("attn_norm"), config_.norm_eps);
    x_BTD = x_BTD + attention(attended_BTD, layer.in("attn"), tables, attention_options);
    const at::Tensor rows_TD =
        rms_norm(x_BTD, layer.at("ffn_norm"), config_.norm_eps).flatten(0, 1);
    at::Tensor y_TD;
    if (config_.is_moe_layer(l)) {
      const MoeOutput output = moe_layer(rows_TD, layer, config_.moe);
      add_moe(result, output, l, options);
      y_TD = output.y_TD;
    } else {
      y_TD = feed_forward(rows_TD, layer.in("ffn"));
    }
    x_BTD = x_BTD + y_TD.view_as(x_BTD);
  }
  x_BTD = rms_norm(x_BTD, model.at("norm"), config_.norm_eps);
  const at::Tensor& head_VD = model.at(config_.tie_embeddings ? "embed" : "head");
  if (options.targets_BT.defined())
    result.cross_entropy =
        linear_cross_entropy(x_BTD.flatten(0, 1), head_VD, options.targets_BT.flatten());
  else
    result.logits_BTV = at::linear(x_BTD, head_VD);
  return result;
}

WeightProvider Decoder::provider() const {
  return [parameters = parameters_](const WeightSpec& spec, float* target) {
    const torch::NoGradGuard no_grad;
    const auto found = parameters.find(spec.name);
    if (found == parameters.end())
      fail(ErrorCode::kNotFound, "the decoder has no tensor {}", spec.name);
    if (found->second.sizes() != at::IntArrayRef(spec.shape))
      fail(ErrorCode::kShape, "{} has shape {}, expected {}", spec.name,
           to_string(found->second.sizes().vec()), to_string(spec.shape));
    at::from_blob(target, spec.shape, at::kFloat).copy_(found->second);
  };
}

}  // namespace talpa::nn
