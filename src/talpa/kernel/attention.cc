#include "talpa/kernel/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "talpa/kernel/implementation.h"

namespace talpa {

namespace {

using kernel::kPanelRows;

/// Rows (tokens x query heads of a group) that share one pass over keys and values.
constexpr int kRowTile = 48;

int padded_dim(const AttentionShape& shape) {
  return (shape.head_dim + kPanelRows - 1) / kPanelRows * kPanelRows;
}

std::int64_t element_bytes(const AttentionShape& shape) {
  return info_of(shape.kv_type).block_bytes;
}
std::int64_t key_bytes(const AttentionShape& shape) {
  return kKvChunk * shape.head_dim * element_bytes(shape);
}
std::int64_t head_bytes(const AttentionShape& shape) {
  return key_bytes(shape) + kKvChunk * padded_dim(shape) * element_bytes(shape);
}

/// A few tokens of one sequence and one key-value head.
class HeadTile {
 public:
  HeadTile(const AttentionShape& shape, const AttentionTask& task, int kv_head, int first_token,
           int num_tokens)
      : shape_(shape),
        task_(task),
        kv_head_(kv_head),
        first_token_(first_token),
        rows_(num_tokens * shape.group()),
        dim_(padded_dim(shape)) {
    scores_.resize(static_cast<std::size_t>(rows_) * kKvChunk);
    sums_.assign(static_cast<std::size_t>(rows_), 0.0f);
    largest_.assign(static_cast<std::size_t>(rows_), -std::numeric_limits<float>::infinity());
    values_ = Buffer<float>(static_cast<std::size_t>(rows_ * dim_));
    std::fill_n(values_.data(), rows_ * dim_, 0.0f);
    row_index_.resize(static_cast<std::size_t>(rows_));
    for (int r = 0; r < rows_; ++r)
      row_index_[r] = token_of(r) * shape.num_heads + kv_head * shape.group() + r % shape.group();
  }

  void run() {
    const int last = last_seen(rows_ - 1);
    for (int chunk = 0; chunk * kKvChunk <= last; ++chunk) {
      const int count = std::min(kKvChunk, last + 1 - chunk * kKvChunk);
      const std::byte* head = task_.chunks[chunk].data() + kv_head_ * head_bytes(shape_);
      score(head, count);
      for (int r = 0; r < rows_; ++r) soften(r, chunk * kKvChunk, count);
      add_values(head + key_bytes(shape_), count);
    }
    const std::int64_t h = shape_.head_dim;
    for (int r = 0; r < rows_; ++r) {
      float* y = task_.y + row_index_[r] * h;
      const float* values = values_.data() + r * dim_;
      for (std::int64_t i = 0; i < h; ++i) y[i] = values[i] / sums_[r];
    }
  }

 private:
  int token_of(int r) const { return first_token_ + r / shape_.group(); }
  int last_seen(int r) const {
    return task_.first_position + (task_.is_causal ? token_of(r) : task_.num_tokens - 1);
  }

  void score(const std::byte* keys, int count) {
    kernel::PanelTask t;
    t.x = task_.q;
    t.x_stride = shape_.head_dim;
    t.row_index = row_index_.data();
    t.rows = rows_;
    t.columns = shape_.head_dim;
    t.panels = keys;
    t.panel_bytes = kPanelRows * shape_.head_dim * element_bytes(shape_);
    t.num_panels = (count + kPanelRows - 1) / kPanelRows;
    t.y = scores_.data();
    t.y_stride = kKvChunk;
    t.width = static_cast<std::int64_t>(t.num_panels) * kPanelRows;
    multiply_(t);
  }

  /// Turns a row of scores into exp(score - largest so far) and rescales what was summed.
  void soften(int r, int first_position, int count) {
    float* row = scores_.data() + static_cast<std::int64_t>(r) * kKvChunk;
    const int seen = std::clamp(last_seen(r) + 1 - first_position, 0, count);
    if (seen > 0) {
      const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
      const float largest = std::max(largest_[r], functions_.max(row, seen) * scale);
      const float shrink = std::exp(largest_[r] - largest);
      sums_[r] = sums_[r] * shrink + functions_.exp(row, scale, largest, seen);
      if (shrink != 1.0f) {
        float* values = values_.data() + static_cast<std::int64_t>(r) * dim_;
        for (int i = 0; i < dim_; ++i) values[i] *= shrink;
      }
      largest_[r] = largest;
    }
    std::fill(row + seen, row + count, 0.0f);
  }

  void add_values(const std::byte* panels, int count) {
    kernel::PanelTask t;
    t.x = scores_.data();
    t.x_stride = kKvChunk;
    t.rows = rows_;
    t.columns = count;
    t.panels = panels;
    t.panel_bytes = kPanelRows * kKvChunk * element_bytes(shape_);
    t.num_panels = dim_ / kPanelRows;
    t.y = values_.data();
    t.y_stride = dim_;
    t.width = dim_;
    t.accumulate = true;
    multiply_(t);
  }

  const AttentionShape& shape_;
  const AttentionTask& task_;
  const kernel::RowFunctions& functions_ = kernel::row_functions();
  const kernel::PanelFunction multiply_ =
      kernel::matmul_implementation(shape_.kv_type).function(shape_.kv_type);
  int kv_head_, first_token_, rows_, dim_;
  Buffer<float> scores_, values_;
  std::vector<float> sums_, largest_;
  std::vector<std::int32_t> row_index_;
};

}  // namespace

std::int64_t AttentionShape::chunk_bytes() const { return num_kv_heads * head_bytes(*this); }

namespace {

/// Spreads a head's key over the token's column of its panel, and its value over the token's row.
template <class T>
void spread(const T* key, const T* value, int dim, int index, T* keys, T* values) {
  keys += std::int64_t{index / kPanelRows} * kPanelRows * dim + index % kPanelRows;
  for (int i = 0; i < dim; ++i) keys[i * kPanelRows] = key[i];
  values += std::int64_t{index} * kPanelRows;
  for (int i = 0; i < dim; i += kPanelRows, values += std::int64_t{kKvChunk} * kPanelRows)
    std::copy_n(value + i, std::min(kPanelRows, dim - i), values);
}

}  // namespace

void store_key_value(const AttentionShape& shape, const float* key, const float* value, int index,
                     std::byte* chunk) {
  const int h = shape.head_dim;
  thread_local Buffer<std::uint16_t> halves;
  std::uint16_t* half_key = halves.resize(static_cast<std::size_t>(2 * h));
  for (int j = 0; j < shape.num_kv_heads; ++j, key += h, value += h) {
    std::byte* keys = chunk + j * head_bytes(shape);
    std::byte* values = keys + key_bytes(shape);
    if (shape.kv_type == DType::kF32) {
      spread(key, value, h, index, reinterpret_cast<float*>(keys),
             reinterpret_cast<float*>(values));
      continue;
    }
    kernel::row_functions().to_f16(key, half_key, h);
    kernel::row_functions().to_f16(value, half_key + h, h);
    spread<std::uint16_t>(half_key, half_key + h, h, index, reinterpret_cast<std::uint16_t*>(keys),
                          reinterpret_cast<std::uint16_t*>(values));
  }
}

void attention(const AttentionShape& shape, std::span<const AttentionTask> tasks,
               ThreadPool& pool) {
  struct Item {
    const AttentionTask* task;
    int kv_head, first_token, num_tokens;
  };
  std::vector<Item> items;
  const int tile = std::max(1, kRowTile / shape.group());
  std::int64_t work = 0;
  for (const AttentionTask& task : tasks) {
    work += static_cast<std::int64_t>(task.num_tokens) * (task.first_position + task.num_tokens);
    for (int j = 0; j < shape.num_kv_heads; ++j)
      for (int first = 0; first < task.num_tokens; first += tile)
        items.push_back({&task, j, first, std::min(tile, task.num_tokens - first)});
  }
  // The longest rows first, so that the last piece handed out is a short one.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.task->first_position + a.first_token > b.task->first_position + b.first_token;
  });
  constexpr std::int64_t kSmallWork = 16 * 1024;
  const bool small = work * shape.num_heads * shape.head_dim < kSmallWork;
  const auto count = static_cast<std::int64_t>(items.size());
  pool.parallel_for(count, small ? count : 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      HeadTile(shape, *items[i].task, items[i].kv_head, items[i].first_token, items[i].num_tokens)
          .run();
  });
}

}  // namespace talpa
