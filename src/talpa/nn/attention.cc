// B sequences, T tokens, D model width, H heads (J of keys and values) of width h.
#include "talpa/nn/attention.h"

#include <torch/torch.h>

#include "talpa/nn/linear.h"
#include "talpa/nn/norm.h"

namespace talpa::nn {
namespace {

struct Projection {
  std::string name;  // q, k or v
  int num_heads;
};

at::Tensor project(const at::Tensor& x_BTD, const Scope& parameters, const Projection& projection,
                   const AttentionOptions& options) {
  const auto& config = options.config;
  const std::string& name = projection.name;
  at::Tensor heads = nn::linear(x_BTD, parameters.at(name), parameters.find(name + "_bias"));
  const bool normed = name != "v" && config.qk_norm != QkNorm::kNone;
  const bool full_width = normed && config.qk_norm == QkNorm::kFullWidth;
  if (full_width) heads = rms_norm(heads, parameters.at(name + "_norm"), options.norm_eps);
  heads = heads.unflatten(-1, {projection.num_heads, config.head_dim});
  if (normed && !full_width)
    heads = rms_norm(heads, parameters.at(name + "_norm"), options.norm_eps);
  if (config.clip_qkv > 0) heads = heads.clamp(-config.clip_qkv, config.clip_qkv);
  return heads;
}

// Every key/value head serves H/J query heads in a row.
at::Tensor expand_heads(const at::Tensor& x_BJTh, int num_heads) {
  const auto num_kv_heads = x_BJTh.size(1);
  if (num_kv_heads == num_heads) return x_BJTh;
  return x_BJTh.unsqueeze(2).expand({-1, -1, num_heads / num_kv_heads, -1, -1}).flatten(1, 2);
}

}  // namespace

at::Tensor document_mask(const at::Tensor& documents_BT) {
  const at::Tensor same_BTT = documents_BT.unsqueeze(2).eq(documents_BT.unsqueeze(1));
  return same_BTT.tril().unsqueeze(1);
}

at::Tensor attention(const at::Tensor& x_BTD, const Scope& parameters, const RotaryTables& tables,
                     const AttentionOptions& options) {
  const int num_heads = options.config.num_heads, num_kv_heads = options.config.num_kv_heads;
  const at::Tensor q_BTHh = project(x_BTD, parameters, {"q", num_heads}, options);
  const at::Tensor k_BTJh = project(x_BTD, parameters, {"k", num_kv_heads}, options);
  const at::Tensor v_BTJh = project(x_BTD, parameters, {"v", num_kv_heads}, options);
  const at::Tensor q_BHTh = rotate(q_BTHh, tables).transpose(1, 2);
  const at::Tensor k_BHTh = expand_heads(rotate(k_BTJh, tables).transpose(1, 2), num_heads);
  const at::Tensor v_BHTh = expand_heads(v_BTJh.transpose(1, 2), num_heads);
  const at::Tensor mixed_BHTh =
      options.mask.defined()
          ? at::scaled_dot_product_attention(q_BHTh, k_BHTh, v_BHTh, options.mask)
          : at::scaled_dot_product_attention(q_BHTh, k_BHTh, v_BHTh, {}, 0.0, /*is_causal=*/true);
  return nn::linear(mixed_BHTh.transpose(1, 2).flatten(2), parameters.at("o"));
}

}  // namespace talpa::nn
