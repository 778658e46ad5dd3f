#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>

#include "scratch.h"
#include "talpa/convert/calibration.h"
#include "talpa/convert/layer_experts.h"
#include "talpa/convert/method.h"
#include "talpa/nn/decoder.h"

namespace talpa::convert {

inline DecoderConfig small_moe() {
  DecoderConfig c;
  c.family = Family::kQwen3Moe;
  c.vocab_size = 64;
  c.dim = 32;
  c.num_layers = 2;
  c.ffn_dim = 32;
  c.tie_embeddings = true;
  c.attention.num_heads = 2;
  c.attention.num_kv_heads = 1;
  c.attention.head_dim = 16;
  c.attention.qk_norm = QkNorm::kPerHead;
  c.moe.num_experts = 8;
  c.moe.top_k = 2;
  c.moe.hidden_dim = 16;
  return c;
}

inline std::filesystem::path save_random(const std::filesystem::path& path, int seed = 3) {
  nn::Decoder decoder(small_moe());
  decoder.initialise(static_cast<std::uint64_t>(seed));
  save_hf_directory(path, decoder.config(), decoder.provider(), {.dtype = DType::kF32});
  return path;
}

inline at::Tensor logits_of(const nn::Decoder& decoder) {
  const torch::NoGradGuard no_grad;
  const at::Tensor tokens_BT = torch::arange(24, torch::kLong).reshape({2, 12});
  return decoder.forward(tokens_BT).logits_BTV;
}

inline at::Tensor logits_of(const std::filesystem::path& path) {
  const ModelFiles files = open_model(path);
  nn::Decoder decoder(files.config);
  decoder.load(files);
  return logits_of(decoder);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

inline double relative(const at::Tensor& got, const at::Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

struct Sizes {
  std::int64_t experts = 8, hidden = 16, width = 32;  ///< N, m, n
};

inline LayerExperts::Tensors random_experts(const Sizes& s, int seed) {
  torch::manual_seed(seed);
  auto stack = [&] { return torch::randn({s.experts, s.hidden, s.width}); };
  return {stack(), stack(), stack(), torch::randn({s.experts, s.width})};
}

/// Second moments [N, d, d] of `rows` anisotropic rows for each expert.
inline at::Tensor random_moments(std::int64_t experts, std::int64_t width, std::int64_t rows) {
  const at::Tensor scale = torch::logspace(0.5, -1.5, width, 10, torch::kDouble);
  const at::Tensor mix_XX =
      std::get<0>(torch::linalg_qr(torch::randn({width, width}, torch::kDouble)));
  const at::Tensor x =
      (torch::randn({experts, rows, width}, torch::kDouble) * scale).matmul(mix_XX);
  return x.transpose(1, 2).matmul(x);
}

/// What experts might have seen: `rows` rows each, of weight one half.
inline LayerStatistics random_statistics(const Sizes& s, int seed, std::int64_t rows = 400) {
  torch::manual_seed(seed);
  const auto wide = torch::TensorOptions(torch::kDouble);
  LayerStatistics statistics;
  statistics.tokens = rows * s.experts / 2;
  statistics.rows_N = torch::full({s.experts}, rows, torch::kLong);
  statistics.mass_N = torch::full({s.experts}, 0.5 * static_cast<double>(rows), wide);
  statistics.mass2_N = torch::full({s.experts}, 0.25 * static_cast<double>(rows), wide);
  statistics.output_mass_N = torch::rand({s.experts}, wide) * rows;
  statistics.mean_output_ND = torch::randn({s.experts, s.width}, wide);
  statistics.gate_effect_NM = torch::rand({s.experts, s.hidden}, wide) + 0.1;
  statistics.up_effect_NM = torch::rand({s.experts, s.hidden}, wide) + 0.1;
  statistics.input_moments = random_moments(s.experts, s.width, rows) * 0.25;
  statistics.hidden_moments = random_moments(s.experts, s.hidden, rows) * 0.25;
  return statistics;
}

/// The same where only the layer's input moment and the hidden diagonals were kept.
inline LayerStatistics coarse(LayerStatistics statistics) {
  statistics.input_moments = statistics.input_moments.sum(0);
  statistics.hidden_moments = statistics.hidden_moments.diagonal(0, 1, 2).contiguous();
  return statistics;
}

inline DecoderConfig config_of(const Sizes& s) {
  DecoderConfig config = small_moe();
  config.num_layers = 1;
  config.dim = static_cast<int>(s.width);
  config.moe.num_experts = static_cast<int>(s.experts);
  config.moe.hidden_dim = static_cast<int>(s.hidden);
  return config;
}

/// A method's fit of one layer in memory, with the target that it planned.
inline LayerFit fit_layer(const std::string& method, const LayerExperts& experts,
                          const ConvertOptions& options) {
  const DecoderConfig original =
      config_of({experts.num_experts(), experts.hidden_dim(), experts.dim()});
  const Method& found = method_named(method);
  return found.fit(experts, found.plan(original, options), {.options = options});
}

/// Dense experts [N, m, n] of one projection that a fit stands for, down transposed.
inline at::Tensor dense_of(const LayerFit& fit, Side side) {
  const bool down = side == Side::kDown;
  at::Tensor left = fit.tensors.at(enum_name(side));
  if (down) left = left.transpose(1, 2);
  std::string name = down ? "down_out" : std::string(enum_name(side)) + "_in";
  if (!down && fit.tensors.contains("gate_up_in")) name = "gate_up_in";
  if (!fit.tensors.contains(name)) return left;
  at::Tensor right = fit.tensors.at(name);
  if (down) right = right.transpose(1, 2);
  return left.matmul(right.repeat_interleave(left.size(0) / right.size(0), 0));
}

}  // namespace talpa::convert
