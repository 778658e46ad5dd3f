#include "talpa/kernel/attention.h"

#include <gtest/gtest.h>

#include "kernel/kernel_cases.h"

namespace talpa::testing {
namespace {

struct AttentionCase {
  AttentionShape shape;
  int num_tokens;
};

const std::vector<AttentionCase> kAttentionCases = {
    {{4, 4, 32}, 1}, {{9, 3, 64}, 40}, {{8, 1, 24}, 150}, {{2, 2, 8}, 300}, {{6, 2, 80}, 129}};

/// Queries, keys and values of one sequence, and its cache.
struct Sequence {
  AttentionShape shape;
  std::vector<float> q, k, v;
  std::vector<KvChunk> chunks;

  Sequence(const AttentionCase& c, std::uint64_t seed)
      : shape(c.shape),
        q(random_floats(c.num_tokens * c.shape.num_heads * c.shape.head_dim, seed)),
        k(random_floats(c.num_tokens * c.shape.num_kv_heads * c.shape.head_dim, seed + 1)),
        v(random_floats(c.num_tokens * c.shape.num_kv_heads * c.shape.head_dim, seed + 2)) {
    const std::int64_t width = shape.num_kv_heads * shape.head_dim;
    for (int t = 0; t < c.num_tokens; ++t) {
      if (t % kKvChunk == 0) {
        chunks.emplace_back(static_cast<std::size_t>(shape.chunk_bytes()));
        std::fill_n(chunks.back().data(), shape.chunk_bytes(), std::byte{0});
      }
      store_key_value(shape, k.data() + t * width, v.data() + t * width, t % kKvChunk,
                      chunks.back().data());
    }
  }

  std::vector<float> expected(int num_tokens) const {
    const int h = shape.head_dim, heads = shape.num_heads;
    std::vector<float> y(q.size());
    for (int t = 0; t < num_tokens; ++t)
      for (int i = 0; i < heads; ++i) {
        const int j = i / shape.group();
        std::vector<double> p(t + 1);
        double total = 0;
        for (int s = 0; s <= t; ++s) {
          double dot = 0;
          for (int d = 0; d < h; ++d)
            dot += double{q[(t * heads + i) * h + d]} * k[(s * shape.num_kv_heads + j) * h + d];
          total += p[s] = std::exp(dot / std::sqrt(h));
        }
        for (int d = 0; d < h; ++d) {
          double sum = 0;
          for (int s = 0; s <= t; ++s)
            sum += p[s] / total * v[(s * shape.num_kv_heads + j) * h + d];
          y[(t * heads + i) * h + d] = static_cast<float>(sum);
        }
      }
    return y;
  }
};

TEST(AttentionTest, EqualsTheDefinition) {
  ThreadPool pool(2);
  for (const auto& impl : kernel::matmul_implementations()) {
    if (!impl.available() || impl.functions.f32 == nullptr) continue;
    const WithMatmul chosen(impl.name);
    for (const AttentionCase& c : kAttentionCases) {
      const Sequence sequence(c, 11);
      std::vector<float> y(sequence.q.size(), NAN);
      const AttentionTask task{sequence.q.data(), y.data(), c.num_tokens, 0, sequence.chunks};
      attention(c.shape, {&task, 1}, pool);
      EXPECT_LT(largest_difference(y, sequence.expected(c.num_tokens)), 2e-5)
          << impl.name << " head_dim " << c.shape.head_dim;
    }
  }
}

/// Keys and values rounded to 11 bits, or limited to the largest number of 16 bits.
TEST(AttentionTest, HoldsKeysAndValuesInHalfTheBytes) {
  ThreadPool pool(2);
  for (AttentionCase c : kAttentionCases) {
    c.shape.kv_type = DType::kF16;
    const Sequence sequence(c, 11);
    std::vector<float> y(sequence.q.size(), NAN);
    const AttentionTask task{sequence.q.data(), y.data(), c.num_tokens, 0, sequence.chunks};
    attention(c.shape, {&task, 1}, pool);
    EXPECT_LT(largest_difference(y, sequence.expected(c.num_tokens)), 4e-3);
  }
  const AttentionShape shape{1, 1, 16, DType::kF16};
  const KvChunk chunk(static_cast<std::size_t>(shape.chunk_bytes()));
  const std::vector<float> q(16, 0.0f), huge(16, 1e30f);
  store_key_value(shape, huge.data(), huge.data(), 0, chunk.data());
  const std::vector<KvChunk> chunks = {chunk};
  std::vector<float> y(16);
  const AttentionTask task{q.data(), y.data(), 1, 0, chunks};
  attention(shape, {&task, 1}, pool);
  EXPECT_EQ(y[0], 65504.0f);
}

/// Two sequences at once, cut at any token, give the bits of each alone.
TEST(AttentionTest, TokensDoNotDependOnTheirCompany) {
  ThreadPool pool(2);
  for (const AttentionCase& c : kAttentionCases) {
    const Sequence a(c, 1), b(c, 2);
    const std::int64_t width = c.shape.num_heads * c.shape.head_dim;
    std::vector<float> whole(a.q.size()), cut(a.q.size()), other(b.q.size());
    const AttentionTask all{a.q.data(), whole.data(), c.num_tokens, 0, a.chunks};
    attention(c.shape, {&all, 1}, pool);
    const int half = c.num_tokens / 2;
    const AttentionTask first{a.q.data(), cut.data(), half, 0, a.chunks};
    attention(c.shape, {&first, 1}, pool);
    const AttentionTask both[] = {{b.q.data(), other.data(), c.num_tokens, 0, b.chunks},
                                  {a.q.data() + half * width, cut.data() + half * width,
                                   c.num_tokens - half, half, a.chunks}};
    attention(c.shape, both, pool);
    EXPECT_EQ(whole, cut);
  }
}

}  // namespace
}  // namespace talpa::testing
