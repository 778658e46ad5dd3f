// Tokens a second of a model: a prompt of 512 tokens, then 128 single tokens. Wall time, and time
// of all cores together, which a busy neighbour does not inflate.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "talpa/base/error.h"
#include "talpa/base/random.h"
#include "talpa/engine/model.h"
#include "talpa/kernel/implementation.h"

namespace talpa {
namespace {

struct Times {
  double wall, cpu;
};

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class Work>
Times time_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  const double cpu = cpu_seconds();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          cpu_seconds() - cpu};
}

std::vector<TokenId> random_tokens(int count, int vocab) {
  Random random(1, "bench");
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& t : tokens) t = static_cast<TokenId>(random.below(static_cast<unsigned>(vocab)));
  return tokens;
}

void report(const char* what, int tokens, const Times& t, int threads) {
  fmt::print("  {:<12} {:8.1f} tokens/s   {:8.1f} tokens per {} core-seconds   cpu/wall {:.2f}\n",
             what, tokens / t.wall, threads * tokens / t.cpu, threads, t.cpu / t.wall);
}

void run(const std::string& path, std::optional<DType> dtype, int threads) {
  constexpr int kPrompt = 512, kDecode = 128, kRepeats = 3;
  std::optional<LoadedModel> loaded;
  const Times load = time_of([&] { loaded = load_model(path, {.weights = dtype, .threads = threads}); });
  Model& model = *loaded->model;
  threads = model.threads().size();
  fmt::print("{} as {}, {} threads, {}: {:.1f} MB, {:.1f} MB a token, loaded in {:.2f} s\n", path,
             dtype ? name_of(*dtype) : "stored", threads, kernel::implementations_in_use(),
             static_cast<double>(model.weight_bytes()) * 1e-6,
             static_cast<double>(model.active_bytes()) * 1e-6, load.wall);
  const auto prompt = random_tokens(kPrompt, model.config().vocab_size);
  Times prefill{1e9, 1e9}, decode{1e9, 1e9};
  for (int i = 0; i < kRepeats; ++i) {
    KvCache cache(model, kPrompt + kDecode);
    const SequenceInput whole{&cache, prompt, LogitsWanted::kLast};
    const Times p = time_of([&] { model.forward({&whole, 1}); });
    const Times d = time_of([&] {
      for (int t = 0; t < kDecode; ++t) {
        const SequenceInput one{
            &cache, {&prompt[static_cast<std::size_t>(t)], 1}, LogitsWanted::kLast};
        model.forward({&one, 1});
      }
    });
    prefill = {std::min(prefill.wall, p.wall), std::min(prefill.cpu, p.cpu)};
    decode = {std::min(decode.wall, d.wall), std::min(decode.cpu, d.cpu)};
  }
  report("prefill 512", kPrompt, prefill, threads);
  report("decode 128", kDecode, decode, threads);
}

}  // namespace
}  // namespace talpa

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr,
                 "usage: model_speed MODEL [stored|f32|f16|bf16|q8_0|q4_0|q4_1] [THREADS]\n");
    return 2;
  }
  const std::string dtype = argc > 2 ? argv[2] : "stored";
  talpa::run(argv[1], dtype == "stored" ? std::nullopt : talpa::dtype_named(dtype),
             argc > 3 ? std::atoi(argv[3]) : 0);
  return 0;
} catch (const talpa::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return talpa::exit_status(error.code());
}
