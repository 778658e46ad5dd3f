#include "talpa/engine/model.h"

#include <algorithm>
#include <mutex>

#include "talpa/base/error.h"
#include "talpa/base/log.h"
#include "talpa/engine/forward.h"

namespace talpa {

namespace {

/// Rows of one step: long prompts are cut, which bounds memory and changes no result.
constexpr std::int64_t kMaxStepRows = 512;

/// Restores the lengths of caches unless told to keep them.
class LengthGuard {
 public:
  explicit LengthGuard(std::span<const SequenceInput> inputs) {
    for (const SequenceInput& input : inputs)
      before_.emplace_back(&input.cache->layers(), input.cache->length());
  }
  ~LengthGuard() {
    for (auto [cache, length] : before_) cache->length = length;
  }
  void keep() { before_.clear(); }

 private:
  std::vector<std::pair<KvCache::Layers*, int>> before_;
};

std::int64_t num_logits(const SequenceInput& input) {
  if (input.logits == LogitsWanted::kNone) return 0;
  const auto count = static_cast<std::int64_t>(input.tokens.size());
  return input.logits == LogitsWanted::kLast ? std::min<std::int64_t>(count, 1) : count;
}

}  // namespace

double ExpertCacheStats::hit_rate() const {
  const std::uint64_t needed = hits + misses;
  return needed > 0 ? static_cast<double>(hits) / static_cast<double>(needed) : 1;
}

ExpertCacheStats ExpertCacheStats::since(const ExpertCacheStats& before) const {
  ExpertCacheStats after = *this;
  after.hits -= before.hits;
  after.misses -= before.misses;
  after.evictions -= before.evictions;
  after.bytes_formed -= before.bytes_formed;
  return after;
}

struct Model::Impl {
  ThreadPool pool;
  PackedDecoder decoder;
  Forward forward;
  std::mutex mutex;
  DType kv_type;
  bool warned_of_length = false;

  Impl(const ModelFiles& files, const EngineOptions& options)
      : pool(make_thread_pool(options.threads, options.pin)),
        decoder(pack_decoder(files, options, pool)),
        forward(decoder, pool),
        kv_type(
            options.kv_type.value_or(options.weights == DType::kF32 ? DType::kF32 : DType::kF16)) {}

  void check(std::span<const SequenceInput> inputs);
  void run_steps(std::span<const SequenceInput> inputs, float* logits, RoutingCounts* routing);
};

void Model::Impl::check(std::span<const SequenceInput> inputs) {
  const AttentionConfig& a = decoder.config.attention;
  std::vector<const KvCache*> seen;
  for (const SequenceInput& input : inputs) {
    if (input.cache == nullptr || std::count(seen.begin(), seen.end(), input.cache) > 0)
      fail(ErrorCode::kUsage, "every sequence of a step needs a key-value cache of its own");
    seen.push_back(input.cache);
    const AttentionShape& shape = input.cache->layers().shape;
    if (shape.num_heads != a.num_heads || shape.num_kv_heads != a.num_kv_heads ||
        shape.head_dim != a.head_dim ||
        static_cast<int>(input.cache->layers().chunks.size()) != decoder.config.num_layers)
      fail(ErrorCode::kShape, "the key-value cache was made for another model");
    if (shape.kv_type != inputs.front().cache->layers().shape.kv_type)
      fail(ErrorCode::kUsage, "the key-value caches of a step hold different types");
    if (!input.hidden_sum.empty() &&
        input.hidden_sum.size() != static_cast<std::size_t>(decoder.config.dim))
      fail(ErrorCode::kShape, "a sum of hidden states has {} numbers, the model's width is {}",
           input.hidden_sum.size(), decoder.config.dim);
    const auto after = static_cast<std::int64_t>(input.tokens.size()) + input.cache->length();
    if (after > input.cache->capacity())
      fail(ErrorCode::kShape, "{} tokens do not fit into a key-value cache of {} that holds {}",
           input.tokens.size(), input.cache->capacity(), input.cache->length());
    for (const TokenId token : input.tokens)
      if (token < 0 || token >= decoder.config.vocab_size)
        fail(ErrorCode::kUsage, "token id {} is outside the vocabulary of {}", token,
             decoder.config.vocab_size);
    if (after > decoder.config.max_positions && !warned_of_length) {
      warned_of_length = true;
      log::warn("position {} exceeds the {} that the model was trained for", after - 1,
                decoder.config.max_positions);
    }
  }
}

void Model::Impl::run_steps(std::span<const SequenceInput> inputs, float* logits,
                            RoutingCounts* routing) {
  std::vector<Piece> pieces;
  std::int64_t rows = 0;
  auto flush = [&] {
    if (pieces.empty()) return;
    forward.run(pieces, logits, routing);
    for (const Piece& piece : pieces) {
      piece.cache->length += static_cast<int>(piece.tokens.size());
      logits += static_cast<std::int64_t>(piece.num_logits) * decoder.config.vocab_size;
    }
    pieces.clear();
    rows = 0;
  };
  for (const SequenceInput& input : inputs) {
    const auto total = static_cast<std::int64_t>(input.tokens.size());
    const std::int64_t first_logit = total - num_logits(input);
    const int start = input.cache->length();
    for (std::int64_t begin = 0; begin < total;) {
      const std::int64_t end = std::min(total, begin + kMaxStepRows - rows);
      pieces.push_back(
          {&input.cache->layers(), input.tokens.subspan(begin, end - begin),
           start + static_cast<int>(begin),
           static_cast<int>(std::clamp<std::int64_t>(end - first_logit, 0, end - begin)),
           input.hidden_sum.empty() ? nullptr : input.hidden_sum.data()});
      rows += end - begin;
      begin = end;
      if (rows == kMaxStepRows) flush();
    }
  }
  flush();
}

Model::Model() = default;
Model::~Model() = default;

std::shared_ptr<Model> Model::load(const ModelFiles& files, const EngineOptions& options) {
  std::shared_ptr<Model> model(new Model);
  model->impl_ = std::make_unique<Impl>(files, options);
  return model;
}

const DecoderConfig& Model::config() const { return impl_->decoder.config; }
std::uint64_t Model::weight_bytes() const { return impl_->decoder.bytes(); }
std::uint64_t Model::active_bytes(int rows) const { return impl_->decoder.active_bytes(rows); }
std::uint64_t Model::expert_bytes() const { return impl_->decoder.expert_bytes(); }
ExpertForm Model::expert_form() const { return impl_->decoder.expert_form; }
std::optional<ExpertCacheStats> Model::expert_cache() const {
  const auto& cache = impl_->decoder.expert_cache;
  return cache ? std::optional(cache->stats()) : std::nullopt;
}
DType Model::kv_type() const { return impl_->kv_type; }
ThreadPool& Model::threads() { return impl_->pool; }

std::vector<float> Model::forward(std::span<const SequenceInput> inputs, RoutingCounts* routing) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check(inputs);
  const DecoderConfig& c = config();
  if (routing != nullptr) {
    routing->rows_per_expert.assign(static_cast<std::size_t>(c.num_layers), {});
    for (int i = 0; i < c.num_layers; ++i)
      if (c.is_moe_layer(i)) routing->rows_per_expert[i].assign(c.moe.num_experts, 0);
  }
  std::int64_t rows = 0;
  for (const SequenceInput& input : inputs) rows += num_logits(input);
  std::vector<float> logits(static_cast<std::size_t>(rows * c.vocab_size));
  LengthGuard guard(inputs);
  impl_->run_steps(inputs, logits.data(), routing);
  guard.keep();
  return logits;
}

}  // namespace talpa
