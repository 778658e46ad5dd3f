// T rows (tokens of all pieces), D model width, N experts.
#include "talpa/engine/forward.h"

#include <algorithm>
#include <cmath>

#include "talpa/base/error.h"
#include "talpa/kernel/implementation.h"
#include "talpa/kernel/matmul.h"
#include "talpa/route/plan.h"

namespace talpa {

namespace {

/// Rows a thread takes at once in work that is not a product.
constexpr std::int64_t kRowGrain = 16;

void add(const std::vector<float>& bias, float* y) {
  for (std::size_t i = 0; i < bias.size(); ++i) y[i] += bias[i];
}

void clip(double limit, float* y, std::int64_t n) {
  const auto bound = static_cast<float>(limit);
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::clamp(y[i], -bound, bound);
}

/// RMSNorm over the whole width, or head by head when the weight is as wide as a head.
void norm_heads(const std::vector<float>& weight, double eps, float* y, std::int64_t width) {
  const auto step = static_cast<std::int64_t>(weight.size());
  if (step == 0) return;
  for (std::int64_t i = 0; i < width; i += step)
    kernel::row_functions().rms_norm(y + i, weight.data(), static_cast<float>(eps), y + i, step);
}

}  // namespace

Forward::Forward(const PackedDecoder& decoder, ThreadPool& pool)
    : decoder_(decoder),
      config_(decoder.config),
      pool_(pool),
      rotary_(decoder.config.attention.head_dim, decoder.config.attention.rope_theta) {}

void Forward::run(std::span<const Piece> pieces, float* logits, RoutingCounts* routing) {
  pieces_ = pieces;
  place_rows();
  embed();
  for (int i = 0; i < config_.num_layers; ++i) {
    const LayerWeights& layer = decoder_.layers[i];
    normalise(layer.attn_norm);
    attend(layer, i);
    normalise(layer.ffn_norm);
    feed_forward(layer, i, routing);
  }
  normalise(decoder_.norm);
  sum_hidden_states();
  head(logits);
}

void Forward::place_rows() {
  piece_of_row_.clear();
  position_of_row_.clear();
  for (std::size_t p = 0; p < pieces_.size(); ++p) {
    const int count = static_cast<int>(pieces_[p].tokens.size());
    pieces_[p].cache->reserve(pieces_[p].first_position + count);
    for (int i = 0; i < count; ++i) {
      piece_of_row_.push_back(static_cast<int>(p));
      position_of_row_.push_back(pieces_[p].first_position + i);
    }
  }
  rows_ = static_cast<std::int64_t>(piece_of_row_.size());
  rotary_.set(position_of_row_);
  const auto elements = static_cast<std::size_t>(rows_ * config_.dim);
  for (auto* buffer : {&stream_TD_, &normed_TD_, &update_TD_}) buffer->resize(elements);
}

void Forward::embed() {
  float* row = stream_TD_.data();
  for (const Piece& piece : pieces_)
    for (const TokenId token : piece.tokens) {
      decoder_.embed.read_row(token, row);
      row += config_.dim;
    }
}

void Forward::normalise(const std::vector<float>& weight) {
  const std::int64_t dim = config_.dim;
  const auto eps = static_cast<float>(config_.norm_eps);
  pool_.parallel_for(rows_, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      kernel::row_functions().rms_norm(stream_TD_.data() + t * dim, weight.data(), eps,
                                       normed_TD_.data() + t * dim, dim);
  });
  x_.set(normed_TD_.data(), rows_, dim);
}

void Forward::add_to_stream(const float* y_TD) {
  const std::int64_t dim = config_.dim;
  pool_.parallel_for(rows_, 2 * kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    kernel::row_functions().axpy(1, y_TD + begin * dim, stream_TD_.data() + begin * dim,
                                 (end - begin) * dim);
  });
}

void Forward::attend(const LayerWeights& layer, int index) {
  const AttentionWeights& w = layer.attention;
  const int rows = static_cast<int>(rows_);
  std::vector<Product> products;
  auto project = [&](const PackedMatrix& weight, Buffer<float>& y) {
    x_.prepare(weight.dtype(), pool_);
    y.resize(static_cast<std::size_t>(rows_ * weight.rows()));
    products.push_back({&weight, &x_, nullptr, rows, y.data(), weight.rows()});
  };
  project(w.q, q_);
  project(w.k, k_);
  project(w.v, v_);
  run_products(products, pool_);
  pool_.parallel_for(rows_, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) finish_qkv(w, t, index);
  });

  float* attended = attended_rows_.resize(static_cast<std::size_t>(rows_ * w.q.rows()));
  std::vector<AttentionTask> tasks;
  std::int64_t first_row = 0;
  for (const Piece& piece : pieces_) {
    const int count = static_cast<int>(piece.tokens.size());
    tasks.push_back({q_.data() + first_row * w.q.rows(), attended + first_row * w.q.rows(), count,
                     piece.first_position, piece.cache->chunks[index]});
    first_row += count;
  }
  attention(pieces_.front().cache->shape, tasks, pool_);
  attended_.set(attended, rows_, w.o.columns());
  matmul(attended_, w.o, update_TD_.data(), pool_);
  add_to_stream(update_TD_.data());
}

void Forward::finish_qkv(const AttentionWeights& w, std::int64_t row, int layer) {
  const AttentionConfig& a = config_.attention;
  float* q = q_.data() + row * w.q.rows();
  float* k = k_.data() + row * w.k.rows();
  float* v = v_.data() + row * w.v.rows();
  add(w.q_bias, q);
  add(w.k_bias, k);
  add(w.v_bias, v);
  norm_heads(w.q_norm, config_.norm_eps, q, w.q.rows());
  norm_heads(w.k_norm, config_.norm_eps, k, w.k.rows());
  if (a.clip_qkv > 0) {
    clip(a.clip_qkv, q, w.q.rows());
    clip(a.clip_qkv, k, w.k.rows());
    clip(a.clip_qkv, v, w.v.rows());
  }
  rotary_.rotate(q, a.num_heads, row);
  rotary_.rotate(k, a.num_kv_heads, row);
  KvCache::Layers& cache = *pieces_[piece_of_row_[row]].cache;
  const int position = position_of_row_[row];
  store_key_value(cache.shape, k, v, position % kKvChunk, cache.chunk_of(layer, position));
}

void Forward::feed_forward(const LayerWeights& layer, int index, RoutingCounts* routing) {
  if (layer.ffn) {
    run_feed_forward(*layer.ffn, x_, update_TD_.data(), experts_, pool_);
    return add_to_stream(update_TD_.data());
  }
  const MoeWeights& moe = *layer.moe;
  const MoeConfig& config = config_.moe;
  float* logits_TN = router_.resize(static_cast<std::size_t>(rows_ * config.num_experts));
  matmul(x_, moe.router, logits_TN, pool_);
  const DispatchPlan plan = route({logits_TN, static_cast<std::size_t>(rows_ * config.num_experts)},
                                  {.num_experts = config.num_experts,
                                   .top_k = config.top_k,
                                   .normalize = config.normalize_top_k,
                                   .selection_bias = moe.selection_bias});
  if (moe.shared) run_shared_expert(moe);
  run_routed_experts(moe, index, plan);
  if (moe.shared) add_to_stream(update_TD_.data());
  if (routing == nullptr) return;
  for (int e = 0; e < config.num_experts; ++e) routing->rows_per_expert[index][e] += plan.count(e);
}

void Forward::run_routed_experts(const MoeWeights& moe, int layer, const DispatchPlan& plan) {
  if (!moe.mixed) return run_experts(moe.experts, plan, x_, stream_TD_.data(), experts_, pool_);
  const ExpertCache::Lease lease(*decoder_.expert_cache, layer, moe.experts, *moe.mixed, plan,
                                 pool_);
  run_experts(lease.weights(), plan, x_, stream_TD_.data(), experts_, pool_);
}

void Forward::run_shared_expert(const MoeWeights& moe) {
  float* y_TD = update_TD_.data();
  run_feed_forward(*moe.shared, x_, y_TD, experts_, pool_);
  if (moe.shared_gate.empty()) return;
  float* gate_T = gate_.resize(static_cast<std::size_t>(rows_));
  matmul(x_, moe.shared_gate, gate_T, pool_);
  for (std::int64_t t = 0; t < rows_; ++t) {
    const float weight = 1 / (1 + std::exp(-gate_T[t]));
    for (std::int64_t d = 0; d < config_.dim; ++d) y_TD[t * config_.dim + d] *= weight;
  }
}

/// Row by row, so that a sum does not depend on the steps that a sequence came in.
void Forward::sum_hidden_states() {
  const float* row = normed_TD_.data();
  for (const Piece& piece : pieces_) {
    const auto count = static_cast<std::int64_t>(piece.tokens.size());
    if (piece.hidden_sum != nullptr)
      for (std::int64_t i = 0; i < count * config_.dim; ++i)
        piece.hidden_sum[i % config_.dim] += row[i];
    row += count * config_.dim;
  }
}

void Forward::head(float* logits) {
  std::vector<std::int32_t> wanted;
  std::int32_t end = 0;
  for (const Piece& piece : pieces_) {
    end += static_cast<std::int32_t>(piece.tokens.size());
    for (int i = piece.num_logits; i > 0; --i) wanted.push_back(end - i);
  }
  if (wanted.empty()) return;
  x_.prepare(decoder_.head.dtype(), pool_);
  const Product product{&decoder_.head, &x_,
                        wanted.data(),  static_cast<int>(wanted.size()),
                        logits,         config_.vocab_size};
  run_products({&product, 1}, pool_);
}

}  // namespace talpa
