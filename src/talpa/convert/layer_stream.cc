// B sequences, T tokens, D model width.
#include "talpa/convert/layer_stream.h"

#include <torch/torch.h>

#include <algorithm>

#include "talpa/convert/read_tensor.h"
#include "talpa/nn/attention.h"
#include "talpa/nn/feed_forward.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/norm.h"

namespace talpa::convert {

namespace {

void check_tokens(const std::vector<TokenSequence>& sequences, int vocab_size) {
  for (const TokenSequence& sequence : sequences) {
    TALPA_CHECK(!sequence.empty());
    for (const std::int32_t token : sequence)
      if (token < 0 || token >= vocab_size)
        fail(ErrorCode::kShape, "token {} is not below the vocabulary's {}", token, vocab_size);
  }
}

/// Sequences of one length, at most `batch_tokens` tokens but at least one sequence.
at::Tensor tokens_of(std::vector<TokenSequence>::const_iterator first, std::int64_t count) {
  const auto length = static_cast<std::int64_t>(first->size());
  at::Tensor tokens_BT = torch::empty({count, length}, torch::kLong);
  for (std::int64_t b = 0; b < count; ++b)
    std::copy(first[b].begin(), first[b].end(), tokens_BT[b].data_ptr<std::int64_t>());
  return tokens_BT;
}

}  // namespace

LayerStream::LayerStream(const ModelFiles& model, std::vector<TokenSequence> sequences,
                         std::int64_t batch_tokens)
    : model_(model) {
  const torch::NoGradGuard no_grad;
  check_tokens(sequences, model.config.vocab_size);
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
  const at::Tensor embed_VD = read_tensor(model.at("embed"));
  for (auto first = sequences.cbegin(); first != sequences.cend();) {
    const auto length = static_cast<std::int64_t>(first->size());
    const std::int64_t most = std::max<std::int64_t>(1, batch_tokens / length);
    std::int64_t count = 0;
    while (count < most && first + count != sequences.cend() &&
           static_cast<std::int64_t>(first[count].size()) == length)
      ++count;
    states_BTD_.push_back(at::embedding(embed_VD, tokens_of(first, count)));
    num_tokens_ += count * length;
    first += count;
  }
}

nn::Parameters LayerStream::read_layer() const {
  TALPA_CHECK(layer_ < model_.config.num_layers);
  const std::string prefix = fmt::format("layers.{}.", layer_);
  nn::Parameters parameters;
  for (auto at = model_.weights.lower_bound(prefix);
       at != model_.weights.end() && at->first.starts_with(prefix); ++at) {
    parameters[at->first] = read_tensor(at->second);
    release(model_, at->second);
  }
  return parameters;
}

void LayerStream::advance(const Observer& observe) {
  const torch::NoGradGuard no_grad;
  const nn::Parameters parameters = read_layer();
  const nn::Scope layer(parameters, fmt::format("layers.{}.", layer_));
  for (at::Tensor& states_BTD : states_BTD_) states_BTD = pass(states_BTD, layer, observe);
  ++layer_;
}

std::vector<LayerStream::Halfway> LayerStream::halfway(const nn::Scope& layer) const {
  const torch::NoGradGuard no_grad;
  std::vector<Halfway> all;
  for (const at::Tensor& states_BTD : states_BTD_) all.push_back(attend(states_BTD, layer));
  return all;
}

void LayerStream::finish_layer(const std::vector<at::Tensor>& states_TD) {
  for (std::size_t i = 0; i < states_BTD_.size(); ++i)
    states_BTD_[i] = states_TD.at(i).view_as(states_BTD_[i]);
  ++layer_;
}

at::Tensor LayerStream::states_TD() const {
  std::vector<at::Tensor> rows;
  for (const at::Tensor& states_BTD : states_BTD_) rows.push_back(states_BTD.flatten(0, 1));
  return torch::cat(rows);
}

LayerStream::Halfway LayerStream::attend(const at::Tensor& x_BTD, const nn::Scope& layer) const {
  const DecoderConfig& config = model_.config;
  const nn::RotaryTables tables =
      nn::rotary_tables(x_BTD.size(1), config.attention.head_dim, config.attention.rope_theta);
  const at::Tensor attended_BTD =
      x_BTD + nn::attention(nn::rms_norm(x_BTD, layer.at("attn_norm"), config.norm_eps),
                            layer.in("attn"), tables, {config.attention, config.norm_eps});
  return {attended_BTD.flatten(0, 1),
          nn::rms_norm(attended_BTD, layer.at("ffn_norm"), config.norm_eps).flatten(0, 1)};
}

at::Tensor LayerStream::pass(const at::Tensor& x_BTD, const nn::Scope& layer,
                             const Observer& observe) const {
  const DecoderConfig& config = model_.config;
  const Halfway half = attend(x_BTD, layer);
  if (!config.is_moe_layer(layer_))
    return (half.attended_TD + nn::feed_forward(half.rows_TD, layer.in("ffn"))).view_as(x_BTD);
  const nn::Scope moe = layer.in("moe");
  const at::Tensor states_TD =
      half.attended_TD + nn::moe_layer(half.rows_TD, layer, config.moe).y_TD;
  if (observe)
    observe(half.rows_TD,
            nn::route_rows(nn::router_logits(half.rows_TD, moe.at("router")), config.moe,
                           moe.find("router_bias")),
            moe, states_TD);
  return states_TD.view_as(x_BTD);
}

}  // namespace talpa::convert
