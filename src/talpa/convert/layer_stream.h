#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "talpa/model/weights.h"
#include "talpa/nn/decoder.h"
#include "talpa/nn/moe/router.h"
#include "talpa/nn/scope.h"

namespace talpa::convert {

using TokenSequence = std::vector<std::int32_t>;

/// Text on its way through a model, one layer at a time: the hidden states of all tokens are
/// kept, the weights of one layer.
class LayerStream {
 public:
  /// Embeds the sequences, which are not empty. `model` outlives this.
  LayerStream(const ModelFiles& model, std::vector<TokenSequence> sequences,
              std::int64_t batch_tokens);

  /// What an MoE layer's experts are given: rows [T, n] of a batch, their routing, the layer's
  /// parameters (scope "moe": router, gate, up, down), all fp32.
  using Observer =
      std::function<void(const at::Tensor& x_TD, const nn::Routing& routing, const nn::Scope& moe)>;

  /// Carries all states through the next layer; `observe` is called a batch if it has experts.
  void advance(const Observer& observe);
  int next_layer() const { return layer_; }
  std::int64_t num_tokens() const { return num_tokens_; }

 private:
  at::Tensor pass(const at::Tensor& x_BTD, const nn::Scope& layer, const Observer& observe) const;

  const ModelFiles& model_;
  int layer_ = 0;
  std::int64_t num_tokens_ = 0;
  std::vector<at::Tensor> states_BTD_;  ///< batches of sequences of one length
};

}  // namespace talpa::convert
