#include "talpa/engine/encoder_forward.h"

#include "talpa/kernel/encoder_rows.h"
#include "talpa/kernel/implementation.h"

namespace talpa {

namespace {

constexpr std::int64_t kEncoderRowGrain = 8;  ///< rows a thread takes at once

std::size_t chunks_of(const std::vector<TokenId>& text) {
  return (text.size() + kKvChunk - 1) / kKvChunk;
}

void add_bias(const std::vector<float>& bias, float* row) {
  kernel::row_functions().axpy(1, bias.data(), row, static_cast<std::int64_t>(bias.size()));
}

}  // namespace

EncoderForward::EncoderForward(const PackedEncoder& encoder, ThreadPool& pool)
    : encoder_(encoder), pool_(pool) {
  const EncoderConfig& c = encoder.config;
  shape_ = {.num_heads = c.num_heads, .num_kv_heads = c.num_heads, .head_dim = c.dim / c.num_heads};
}

const float* EncoderForward::run(std::span<const std::vector<TokenId>> texts) {
  std::size_t rows = 0, chunks = 0;
  for (const auto& text : texts) {
    rows += text.size();
    chunks += chunks_of(text);
  }
  rows_ = static_cast<std::int64_t>(rows);
  while (chunks_.size() < chunks)
    chunks_.emplace_back(static_cast<std::size_t>(shape_.chunk_bytes()));
  embed(texts);
  for (const EncoderLayerWeights& layer : encoder_.layers) {
    attend(layer, texts);
    feed_forward(layer);
  }
  return stream_.data();
}

void EncoderForward::embed(std::span<const std::vector<TokenId>> texts) {
  const std::int64_t dim = encoder_.config.dim;
  float* row = stream_.resize(static_cast<std::size_t>(rows_ * dim));
  for (const auto& text : texts)
    for (std::size_t i = 0; i < text.size(); ++i, row += dim) {
      encoder_.tokens.read_row(text[i], row);
      const float* place = encoder_.places.data() + static_cast<std::int64_t>(i) * dim;
      kernel::row_functions().axpy(1, place, row, dim);
      layer_norm(row, encoder_.norm.weight.data(), encoder_.norm.bias.data(),
                 static_cast<float>(encoder_.config.norm_eps), row, dim);
    }
}

/// Of the stream, which `x_` must hold; the bias is left to whoever reads the rows.
void EncoderForward::multiply(const BiasedMatrix& matrix, Buffer<float>& y) {
  y.resize(static_cast<std::size_t>(rows_ * matrix.weight.rows()));
  matmul(x_, matrix.weight, y.data(), pool_);
}

void EncoderForward::attend(const EncoderLayerWeights& layer,
                            std::span<const std::vector<TokenId>> texts) {
  const std::int64_t dim = encoder_.config.dim;
  x_.set(stream_.data(), rows_, dim);
  multiply(layer.q, q_);
  multiply(layer.k, k_);
  multiply(layer.v, v_);
  pool_.parallel_for(rows_, kEncoderRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      add_bias(layer.q.bias, q_.data() + t * dim);
      add_bias(layer.k.bias, k_.data() + t * dim);
      add_bias(layer.v.bias, v_.data() + t * dim);
    }
  });
  store_keys_and_values(texts);
  attended_.resize(static_cast<std::size_t>(rows_ * dim));
  std::vector<AttentionTask> tasks;
  std::size_t chunk = 0;
  std::int64_t row = 0;
  for (const auto& text : texts) {
    tasks.push_back({.q = q_.data() + row * dim,
                     .y = attended_.data() + row * dim,
                     .num_tokens = static_cast<int>(text.size()),
                     .chunks = std::span(chunks_).subspan(chunk, chunks_of(text)),
                     .is_causal = false});
    chunk += chunks_of(text);
    row += static_cast<std::int64_t>(text.size());
  }
  attention(shape_, tasks, pool_);
  inner_.set(attended_.data(), rows_, dim);
  update_.resize(static_cast<std::size_t>(rows_ * dim));
  matmul(inner_, layer.o.weight, update_.data(), pool_);
  add_and_normalise(update_, layer.o.bias, layer.attn_norm);
}

void EncoderForward::store_keys_and_values(std::span<const std::vector<TokenId>> texts) {
  std::vector<std::pair<std::byte*, int>> places;  // of every row
  std::size_t chunk = 0;
  for (const auto& text : texts) {
    for (std::size_t i = 0; i < text.size(); ++i)
      places.emplace_back(chunks_[chunk + i / kKvChunk].data(), static_cast<int>(i % kKvChunk));
    chunk += chunks_of(text);
  }
  const std::int64_t dim = encoder_.config.dim;
  pool_.parallel_for(rows_, kEncoderRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      store_key_value(shape_, k_.data() + t * dim, v_.data() + t * dim, places[t].second,
                      places[t].first);
  });
}

void EncoderForward::feed_forward(const EncoderLayerWeights& layer) {
  const std::int64_t dim = encoder_.config.dim, width = encoder_.config.ffn_dim;
  x_.set(stream_.data(), rows_, dim);
  multiply(layer.up, hidden_);
  pool_.parallel_for(rows_, kEncoderRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      add_bias_and_gelu(layer.up.bias.data(), hidden_.data() + t * width, width);
  });
  inner_.set(hidden_.data(), rows_, width);
  matmul(inner_, layer.down.weight, update_.data(), pool_);
  add_and_normalise(update_, layer.down.bias, layer.ffn_norm);
}

void EncoderForward::add_and_normalise(const Buffer<float>& update, const std::vector<float>& bias,
                                       const NormWeights& norm) {
  const std::int64_t dim = encoder_.config.dim;
  const auto eps = static_cast<float>(encoder_.config.norm_eps);
  pool_.parallel_for(rows_, kEncoderRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* row = stream_.data() + t * dim;
      add_bias(bias, row);
      kernel::row_functions().axpy(1, update.data() + t * dim, row, dim);
      layer_norm(row, norm.weight.data(), norm.bias.data(), eps, row, dim);
    }
  });
}

}  // namespace talpa
