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
  /// parameters (scope "moe": router, gate, up, down); and the states [T, n] behind the layer. All
  /// fp32.
  using Observer = std::function<void(const at::Tensor& x_TD, const nn::Routing& routing,
                                      const nn::Scope& moe, const at::Tensor& states_TD)>;

  /// Carries all states through the next layer; `observe` is called a batch if it has experts.
  void advance(const Observer& observe);

  /// A batch on its way through a layer, behind attention: the states [T, n], and the rows that the
  /// feed-forward part is given.
  struct Halfway {
    at::Tensor attended_TD, rows_TD;
  };
  /// All batches halfway through the next layer, whose parameters are `layer`'s.
  std::vector<Halfway> halfway(const nn::Scope& layer) const;
  /// Puts the states behind the next layer; batches in the same order, [T, n].
  void finish_layer(const std::vector<at::Tensor>& states_TD);
  /// The next layer's parameters under their full names, fp32.
  nn::Parameters read_layer() const;
  /// All tokens' states, [T, n].
  at::Tensor states_TD() const;
  int next_layer() const { return layer_; }
  std::int64_t num_tokens() const { return num_tokens_; }

 private:
  Halfway attend(const at::Tensor& x_BTD, const nn::Scope& layer) const;
  at::Tensor pass(const at::Tensor& x_BTD, const nn::Scope& layer, const Observer& observe) const;

  const ModelFiles& model_;
  int layer_ = 0;
  std::int64_t num_tokens_ = 0;
  std::vector<at::Tensor> states_BTD_;  ///< batches of sequences of one length
};

}  // namespace talpa::convert
