// B sequences, T tokens, D model width, V vocabulary.
#include "talpa/nn/decoder.h"

#include <torch/torch.h>

#include <string>

#include "talpa/base/error.h"
#include "talpa/model/basis_pivots.h"
#include "talpa/nn/attention.h"
#include "talpa/nn/cross_entropy.h"
#include "talpa/nn/feed_forward.h"
#include "talpa/nn/init.h"
#include "talpa/nn/linear.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/norm.h"
#include "talpa/nn/precision.h"
#include "talpa/nn/recompute.h"
#include "talpa/nn/scope.h"

namespace talpa::nn {
namespace {

void check_ids(const char* what, const at::Tensor& ids, int vocab_size) {
  if (ids.numel() == 0) return;
  const auto [least, most] = ids.aminmax();
  if (least.item<std::int64_t>() < 0 || most.item<std::int64_t>() >= vocab_size)
    fail(ErrorCode::kShape, "Decoder::forward: {} {} to {} are not all in [0, {})", what,
         least.item<std::int64_t>(), most.item<std::int64_t>(), vocab_size);
}

void check_inputs(const at::Tensor& tokens_BT, const ForwardOptions& options, int vocab_size) {
  const at::Tensor &targets_BT = options.targets_BT, &documents_BT = options.documents_BT;
  if (tokens_BT.dim() != 2 || tokens_BT.scalar_type() != at::kLong || tokens_BT.numel() == 0)
    fail(ErrorCode::kShape, "Decoder::forward: expected int64 tokens [sequences, tokens]");
  check_ids("tokens", tokens_BT, vocab_size);
  if (documents_BT.defined() && documents_BT.sizes() != tokens_BT.sizes())
    fail(ErrorCode::kShape, "Decoder::forward: expected documents of the tokens' shape");
  if (!targets_BT.defined()) return;
  if (targets_BT.sizes() != tokens_BT.sizes() || targets_BT.scalar_type() != at::kLong)
    fail(ErrorCode::kShape, "Decoder::forward: expected int64 targets of the tokens' shape");
  check_ids("targets (other than -100)", targets_BT.masked_select(targets_BT.ne(kIgnoredTarget)),
            vocab_size);
}

// What all layers of one forward share.
struct Common {
  const DecoderConfig& config;
  const Scope model;
  RotaryTables tables;
  at::Tensor mask;

  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const {
    return rms_norm(x, weight, config.norm_eps);
  }
};

// One layer as a function that can be run again: x [B, T, n] to {x} or, with experts, {x, balance
// loss, z-loss}. What is no tensor to differentiate goes into the record.
class Layer {
 public:
  Layer(std::shared_ptr<const Common> common, int index, BalanceOptions balance,
        ExpertRanks* experts)
      : common_(std::move(common)),
        index_(index),
        balance_(std::move(balance)),
        experts_(experts),
        record_(std::make_shared<RouterRecord>()) {
    record_->layer = index;
  }

  std::vector<at::Tensor> operator()(const at::Tensor& x_BTD) const {
    const DecoderConfig& config = common_->config;
    const Scope layer = common_->model.in("layers." + std::to_string(index_));
    const at::Tensor mixed_BTD =
        x_BTD + attention(common_->norm(x_BTD, layer.at("attn_norm")), layer.in("attn"),
                          common_->tables, {config.attention, config.norm_eps, common_->mask});
    const at::Tensor rows_TD = common_->norm(mixed_BTD, layer.at("ffn_norm")).flatten(0, 1);
    if (!config.is_moe_layer(index_))
      return {mixed_BTD + feed_forward(rows_TD, layer.in("ffn")).view_as(mixed_BTD)};
    MoeOutput output = moe_layer(rows_TD, layer, config.moe, balance_, experts_);
    record_->rows_per_expert = std::move(output.rows_per_expert);
    record_->bias_shift_N = output.bias_shift_N;
    return {mixed_BTD + output.y_TD.view_as(mixed_BTD), output.balance_loss, output.z_loss};
  }

  const RouterRecord& record() const { return *record_; }

 private:
  std::shared_ptr<const Common> common_;
  int index_;
  BalanceOptions balance_;
  ExpertRanks* experts_;
  std::shared_ptr<RouterRecord> record_;
};

// One forward.
class Forward {
 public:
  Forward(const DecoderConfig& config, const Parameters& parameters, const ForwardOptions& options)
      : config_(config), model_(parameters), options_(options) {}

  ForwardResult run(const at::Tensor& tokens_BT) {
    const auto common = std::make_shared<Common>(Common{
        config_, model_,
        rotary_tables(tokens_BT.size(1), config_.attention.head_dim, config_.attention.rope_theta),
        options_.documents_BT.defined() ? document_mask(options_.documents_BT) : at::Tensor()});
    at::Tensor x_BTD = at::embedding(model_.at("embed"), tokens_BT);
    result_.balance_loss = result_.z_loss =
        at::zeros({}, x_BTD.options().dtype(wide_type(x_BTD.scalar_type())));
    for (int l = 0; l < config_.num_layers; ++l)
      x_BTD =
          run_layer(Layer(common, l, balance_of(l, tokens_BT.size(0)), options_.experts), x_BTD);
    finish(common->norm(x_BTD, model_.at("norm")));
    return std::move(result_);
  }

 private:
  BalanceOptions balance_of(int l, std::int64_t num_sequences) const {
    BalanceOptions balance{
        options_.balance_scope, num_sequences, {}, options_.quantile_shift, options_.ranks};
    if (options_.earlier_rows != nullptr)
      if (const auto found = options_.earlier_rows->find(l); found != options_.earlier_rows->end())
        balance.earlier_rows = found->second;
    return balance;
  }

  at::Tensor run_layer(const Layer& layer, const at::Tensor& x_BTD) {
    const auto outputs =
        options_.recompute && x_BTD.requires_grad() ? recomputed(x_BTD, layer) : layer(x_BTD);
    if (outputs.size() == 1) return outputs[0];
    result_.balance_loss = result_.balance_loss + outputs[1];
    result_.z_loss = result_.z_loss + outputs[2];
    if (options_.record_routing) result_.routing.push_back(layer.record());
    return outputs[0];
  }

  void finish(const at::Tensor& x_BTD) {
    const at::Tensor& head_VD = model_.at(config_.tie_embeddings ? "embed" : "head");
    if (options_.targets_BT.defined())
      result_.cross_entropy =
          linear_cross_entropy(x_BTD.flatten(0, 1), head_VD, options_.targets_BT.flatten());
    else
      result_.logits_BTV = nn::linear(x_BTD, head_VD);
  }

  const DecoderConfig& config_;
  const Scope model_;
  const ForwardOptions& options_;
  ForwardResult result_;
};

}  // namespace

bool is_trained(const std::string& name) {
  return !is_pivot(name) && !name.ends_with(".router_bias");
}

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
    if (is_pivot(name)) basis_order(files, name);
    at::Tensor values = at::empty(weight.shape, at::kFloat);
    weight.read(values.data_ptr<float>());
    tensor.copy_(values);
  }
}

void Decoder::set_requires_grad(bool on) {
  for (auto& [name, tensor] : parameters_) tensor.requires_grad_(on && is_trained(name));
}

ForwardResult Decoder::forward(const at::Tensor& tokens_BT, const ForwardOptions& options) const {
  check_inputs(tokens_BT, options, config_.vocab_size);
  return Forward(config_, parameters_, options).run(tokens_BT);
}

WeightProvider Decoder::provider() const { return provider_of(parameters_); }

WeightProvider provider_of(Parameters parameters) {
  return [parameters = std::move(parameters)](const WeightSpec& spec, float* target) {
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
