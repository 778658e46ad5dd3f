// Products, experts and attention by implementation, type of weights and number of rows. One
// thread, CPU time: GB/s of weights read and Gop/s (two a multiply-add) per core-second.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>

#include "talpa/base/random.h"
#include "talpa/kernel/attention.h"
#include "talpa/kernel/experts.h"
#include "talpa/kernel/implementation.h"
#include "talpa/kernel/matmul.h"

namespace talpa {
namespace {

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16,
                            DType::kQ8_0, DType::kQ4_0, DType::kQ4_1};
constexpr int kRows[] = {1, 4, 16, 64, 512};

std::vector<float> random_floats(std::int64_t count) {
  Random random(1, "bench");
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = static_cast<float>(random.normal());
  return values;
}

void count(benchmark::State& state, double bytes, double operations) {
  const auto n = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(n * bytes * 1e-9, benchmark::Counter::kIsRate);
  state.counters["Gop/s"] = benchmark::Counter(n * operations * 1e-9, benchmark::Counter::kIsRate);
}

/// Several matrices in turn, larger together than the caches.
void run_matmul(benchmark::State& state, const char* implementation, DType dtype, int rows) {
  constexpr std::int64_t kOut = 1536, kIn = 2048;
  kernel::choose_implementations({.matmul = implementation, .rows = ""});
  ThreadPool pool(1);
  const auto w = random_floats(kOut * kIn), x = random_floats(rows * kIn);
  const int copies = static_cast<int>(std::ceil(128e6 / (kOut * kIn * 2)));
  std::vector<PackedMatrix> weights;
  for (int i = 0; i < copies; ++i)
    weights.push_back(pack(rows_of(w.data(), kOut, kIn), dtype, pool));
  std::vector<float> y(static_cast<std::size_t>(rows * kOut));
  Activations activations;
  std::size_t next = 0;
  for (auto _ : state) {
    activations.set(x.data(), rows, kIn);
    matmul(activations, weights[next++ % weights.size()], y.data(), pool);
  }
  count(state, static_cast<double>(weights[0].bytes()), 2.0 * rows * kOut * kIn);
  kernel::choose_implementations({});
}

void run_attention(benchmark::State& state, int tokens, int context) {
  const AttentionShape shape{32, 4, 128, DType::kF16};
  ThreadPool pool(1);
  std::vector<KvChunk> chunks;
  const auto values = random_floats(4 * 128);
  for (int position = 0; position < context; ++position) {
    if (position % kKvChunk == 0)
      chunks.emplace_back(static_cast<std::size_t>(shape.chunk_bytes()));
    store_key_value(shape, values.data(), values.data(), position % kKvChunk, chunks.back().data());
  }
  const auto q = random_floats(tokens * 32 * 128);
  std::vector<float> y(q.size());
  const AttentionTask task{q.data(), y.data(), tokens, context - tokens, chunks};
  for (auto _ : state) attention(shape, {&task, 1}, pool);
  const double pairs = (context - tokens) * 1.0 * tokens + tokens * (tokens + 1.0) / 2;
  count(state, 2.0 * context * 4 * 128 * 2, 4.0 * pairs * 32 * 128);
}

void add_benchmarks() {
  for (const auto& impl : kernel::matmul_implementations())
    for (const DType dtype : kTypes)
      for (const int rows : kRows) {
        const bool slow = std::string_view(impl.name) == "reference" ||
                          std::string_view(impl.name) == "float_activations";
        if (slow || !impl.available() || impl.function(dtype) == nullptr) continue;
        benchmark::RegisterBenchmark(
            fmt::format("matmul/{}/{}/{}", impl.name, name_of(dtype), rows).c_str(),
            [name = impl.name, dtype, rows](benchmark::State& state) {
              run_matmul(state, name, dtype, rows);
            });
      }
  for (const auto& [tokens, context] : {std::pair{1, 512}, {1, 4096}, {512, 512}})
    benchmark::RegisterBenchmark(fmt::format("attention/{}/{}", tokens, context).c_str(),
                                 [tokens = tokens, context = context](benchmark::State& state) {
                                   run_attention(state, tokens, context);
                                 });
}

}  // namespace
}  // namespace talpa

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  talpa::add_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
