// How latent experts are run: the choice, experts formed on demand, their cache, and memory.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "engine/random_model.h"
#include "talpa/engine/expert_cache.h"
#include "talpa/engine/expert_choice.h"
#include "talpa/model/accounting.h"

namespace talpa::testing {
namespace {

EngineOptions run_as(ExpertForm form, std::optional<std::uint64_t> cache = {}) {
  return {.weights = DType::kF32, .experts = form, .expert_cache = cache, .threads = 2};
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(double{a[i]} - b[i]));
  return largest;
}

class ExpertForms : public ::testing::TestWithParam<DecoderCase> {
 protected:
  std::shared_ptr<Model> load(const EngineOptions& options) {
    return random_model(GetParam().config, scratch_, options).model;
  }
  Scratch scratch_;
};

/// Bit by bit the same whatever the cache holds, and as dense experts. Linear latents as they are
/// multiply in another order.
TEST_P(ExpertForms, GiveTheSameLogits) {
  const auto tokens = random_tokens(40, 1);
  const auto dense_model = load(run_as(ExpertForm::kDense));
  const auto dense = all_logits(*dense_model, tokens);
  EXPECT_EQ(dense_model->expert_form(), ExpertForm::kDense);
  EXPECT_FALSE(dense_model->expert_cache());
  const auto latent_model = load(run_as(ExpertForm::kLatent));
  EXPECT_EQ(latent_model->expert_form(), ExpertForm::kLatent);
  const bool mixed = GetParam().config.moe.latent.mixed;
  EXPECT_EQ(latent_model->expert_cache().has_value(), mixed);
  EXPECT_LT(largest_difference(all_logits(*latent_model, tokens), dense), 1e-4);
  if (!mixed) return;
  for (const std::uint64_t cache : {0, 50000, 1 << 30}) {
    const auto model = load(run_as(ExpertForm::kLatent, cache));
    EXPECT_EQ(all_logits(*model, tokens), dense) << cache;
    EXPECT_EQ(all_logits(*model, tokens), dense) << cache;
  }
}

TEST_P(ExpertForms, SayWhatTheyHoldAndRead) {
  const DecoderConfig& c = GetParam().config;
  const auto dense = load(run_as(ExpertForm::kDense));
  const ModelFiles files = open_model(scratch_ / "model");
  const std::uint64_t dense_bytes = dense_expert_bytes(files, DType::kF32);
  EXPECT_EQ(dense->expert_bytes(), dense_bytes);
  const auto latent = load(run_as(ExpertForm::kLatent, 0));
  EXPECT_EQ(latent->weight_bytes() - latent->expert_bytes(),
            dense->weight_bytes() - dense->expert_bytes());
  if (!c.moe.latent.mixed) return;
  // Factors as stored, what is not factored in panels of 16 rows.
  const double stored = 4 * static_cast<double>(account_of(c).expert_params);
  EXPECT_NEAR(static_cast<double>(latent->expert_bytes()) / stored, 1, 0.12);
  const auto half = load(run_as(ExpertForm::kLatent, 60000));
  EXPECT_EQ(half->expert_bytes(), latent->expert_bytes() + 60000);
  const auto all = load(run_as(ExpertForm::kLatent, 1 << 30));
  const double factors =
      static_cast<double>(all->expert_bytes()) - static_cast<double>(dense->expert_bytes());
  // All held: read as dense experts. None held: a step of every expert reads all factors, too.
  EXPECT_NEAR(static_cast<double>(all->active_bytes()), static_cast<double>(dense->active_bytes()),
              1);
  EXPECT_NEAR(static_cast<double>(latent->active_bytes(1 << 20)),
              static_cast<double>(dense->active_bytes(1 << 20)) + factors, 1);
  EXPECT_GT(latent->active_bytes(), half->active_bytes());
  EXPECT_GT(half->active_bytes(), all->active_bytes());
}

INSTANTIATE_TEST_SUITE_P(
    Latents, ExpertForms,
    ::testing::Values(
        DecoderCase{"mobe_silu", small_mobe(BasisActivation::kSilu)},
        DecoderCase{"mobe_tanh", small_mobe(BasisActivation::kTanh)},
        DecoderCase{"slbf", small_slbf()}, DecoderCase{"slbf_by_layer", small_slbf_by_layer()},
        DecoderCase{"shared_latent_without_activation", small_latent({.latent_dim = 16,
                                                                      .group_size = 4,
                                                                      .factor_down = true,
                                                                      .share_gate_up_latent = true,
                                                                      .mixed = true,
                                                                      .basis_rank = 5})},
        DecoderCase{"groups",
                    small_latent({.latent_dim = 16, .group_size = 4, .factor_down = true})},
        DecoderCase{
            "latent_moe",
            small_latent({.latent_dim = 24, .factor_down = true, .share_gate_up_latent = true})},
        DecoderCase{"latent_down",
                    small_latent({.latent_dim = 16, .factor_down = true, .down_latent_dim = 32})}),
    [](const auto& info) { return info.param.name; });

/// One layer's factors and what is needed to ask for its experts.
class CacheTest : public ::testing::Test {
 protected:
  CacheTest() {
    save_random(small_slbf(), scratch_ / "model");
    files_ = open_model(scratch_ / "model");
    factors_ = std::make_unique<MixedExperts>(files_, "layers.1.moe.", DType::kF32, pool_);
  }
  /// One row that goes to these experts.
  static DispatchPlan plan_for(const std::vector<int>& experts) {
    std::vector<float> logits(8, -9.0f);
    for (const int e : experts) logits[e] = 1;
    return route(logits, {.num_experts = 8, .top_k = static_cast<int>(experts.size())});
  }
  /// Bytes held while a step of these experts lasts.
  std::uint64_t step(ExpertCache& cache, const std::vector<int>& experts, int layer = 1) {
    const ExpertCache::Lease lease(cache, layer, {}, *factors_, plan_for(experts), pool_);
    for (const int e : experts) {
      EXPECT_EQ(lease.weights().gate.at(e).rows(), 40);
      EXPECT_EQ(lease.weights().down.at(e).rows(), 48);
    }
    return cache.stats().bytes;
  }
  std::uint64_t one() const { return factors_->formed_bytes(); }

  Scratch scratch_;
  ThreadPool pool_{2};
  FormingScratch scratch_memory_;
  ModelFiles files_;
  std::unique_ptr<MixedExperts> factors_;
};

TEST_F(CacheTest, GivesUpWhatWasUsedLongestAgo) {
  ExpertCache cache(2 * one() + one() / 2);
  for (const int e : {0, 1, 0, 2, 0, 1}) step(cache, {e});
  // 0 and 1 formed, 0 found, 2 for 1, 0 found, 1 for 2.
  const ExpertCacheStats stats = cache.stats();
  EXPECT_EQ(stats.misses, 4u);
  EXPECT_EQ(stats.hits, 2u);
  EXPECT_EQ(stats.evictions, 2u);
  EXPECT_EQ(stats.bytes_formed, 4 * one());
  EXPECT_EQ(stats.bytes, 2 * one());
  EXPECT_DOUBLE_EQ(stats.hit_rate(), 2.0 / 6);
  step(cache, {0, 1});
  EXPECT_EQ(cache.stats().since(stats).hits, 2u);
  EXPECT_EQ(cache.stats().since(stats).misses, 0u);
  step(cache, {0}, 3);
  EXPECT_EQ(cache.stats().misses, 5u) << "experts of another layer are others";
}

TEST_F(CacheTest, ExceedsItsBoundForAStepOnly) {
  ExpertCache cache(2 * one());
  EXPECT_EQ(step(cache, {0, 1, 2, 3, 4}), 5 * one());
  EXPECT_EQ(cache.stats().bytes, 2 * one());
  EXPECT_EQ(cache.stats().evictions, 3u);
  // What a step needs is not given up for the rest of it.
  EXPECT_EQ(step(cache, {3, 4, 5}), 3 * one());
  EXPECT_EQ(cache.stats().hits, 2u);
  ExpertCache none(0);
  EXPECT_EQ(step(none, {6}), one());
  EXPECT_EQ(none.stats().bytes, 0u);
}

TEST_F(CacheTest, SeveralThreadsMayShareIt) {
  ExpertCache cache(3 * one());
  const auto formed = [&](int e) {
    std::vector<float> row(48);
    factors_->form(std::vector<int>{e}, scratch_memory_, pool_)
        .front()
        .gate.read_row(7, row.data());
    return row;
  };
  std::vector<std::vector<float>> expected;
  for (int e = 0; e < 8; ++e) expected.push_back(formed(e));
  std::atomic<int> wrong = 0;
  auto work = [&](int seed) {
    ThreadPool pool(1);
    Random random(static_cast<std::uint64_t>(seed));
    for (int i = 0; i < 40; ++i) {
      const int e = static_cast<int>(random.below(8));
      const ExpertCache::Lease lease(cache, 1, {}, *factors_, plan_for({e, (e + 3) % 8}), pool);
      std::vector<float> row(48);
      lease.weights().gate[e].read_row(7, row.data());
      wrong += row != expected[e];
    }
  };
  std::thread a(work, 1), b(work, 2);
  while (cache.stats().hits + cache.stats().misses < 160) std::this_thread::yield();
  a.join();
  b.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(cache.stats().hits + cache.stats().misses, 160u);
  EXPECT_LE(cache.stats().bytes, 3 * one());
}

/// Experts formed together or one by one, with much scratch memory or little.
TEST_F(CacheTest, AnExpertDependsOnItsFactorsOnly) {
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7};
  const auto together = factors_->form(all, scratch_memory_, pool_);
  const LatentFactors down(files_, "layers.1.moe.", "down", {}, {}, pool_);
  std::vector<PackedMatrix> little(8);
  down.form(all, {1, scratch_memory_, pool_},
            [&](const std::string& name, std::size_t i, PackedMatrix m) {
              EXPECT_EQ(name, "down");
              little[i] = std::move(m);
            });
  for (const int e : all) {
    const FormedExpert alone = factors_->form(std::vector<int>{e}, scratch_memory_, pool_).front();
    EXPECT_EQ(alone.bytes(), one());
    std::vector<float> a(40), b(40), c(40);
    for (int row = 0; row < 48; ++row) {
      alone.down.read_row(row, a.data());
      together[e].down.read_row(row, b.data());
      little[e].read_row(row, c.data());
      ASSERT_EQ(a, b) << e;
      ASSERT_EQ(a, c) << e;
    }
  }
}

TEST(ExpertCacheOfAModel, CountsAndKeepsItsBound) {
  const Scratch scratch;
  const DecoderConfig config = small_mobe(BasisActivation::kSilu);
  const auto tokens = random_tokens(20, 3);
  const auto model = random_model(config, scratch, run_as(ExpertForm::kLatent, 1 << 30)).model;
  all_logits(*model, tokens);
  const ExpertCacheStats first = *model->expert_cache();
  EXPECT_GT(first.misses, 3u);
  EXPECT_EQ(first.hits, 0u) << "20 tokens at once need each expert once";
  EXPECT_LE(first.bytes, first.capacity);
  all_logits(*model, tokens);
  EXPECT_EQ(model->expert_cache()->since(first).hits, first.misses);
  EXPECT_EQ(model->expert_cache()->since(first).misses, 0u);

  const std::uint64_t bound = first.bytes_formed / first.misses * 4;
  const auto small = random_model(config, scratch, run_as(ExpertForm::kLatent, bound)).model;
  KvCache cache(*small, 20);
  for (const TokenId& token : tokens) {
    const SequenceInput input{&cache, {&token, 1}, LogitsWanted::kLast};
    small->forward({&input, 1});
    EXPECT_LE(small->expert_cache()->bytes, bound);
  }
  const ExpertCacheStats stats = *small->expert_cache();
  EXPECT_EQ(stats.hits + stats.misses, 20u * 3) << "three experts a token in one layer";
  EXPECT_GT(stats.hits, 0u);
  EXPECT_EQ(stats.evictions, stats.misses - 4);
  EXPECT_EQ(stats.capacity, bound);
}

DecoderConfig wide_moe(const LatentConfig& latent) {
  DecoderConfig c = small_latent(latent);
  c.moe.latent = latent;
  return c;
}

TEST(ChooseExperts, MixedBasesAreDenseWhereMemoryAllows) {
  const DecoderConfig config = small_slbf();
  const auto choose = [&](std::uint64_t dense, std::uint64_t available) {
    return choose_experts(config, ExpertForm::kAuto, dense, available);
  };
  EXPECT_EQ(choose(1 << 30, std::uint64_t{2} << 30).form, ExpertForm::kDense);
  EXPECT_EQ(choose(1 << 30, std::uint64_t{2} << 30).reason,
            "the dense experts take 1.00 GiB, within half of the 2.00 GiB available");
  EXPECT_EQ(choose((1 << 30) + 1, std::uint64_t{2} << 30).form, ExpertForm::kLatent);
  EXPECT_NE(choose(1 << 30, 1 << 30).reason.find("more than half of the 1.00 GiB"),
            std::string::npos);
  EXPECT_EQ(choose(1 << 30, 0).form, ExpertForm::kDense);
  EXPECT_EQ(choose_experts(config, ExpertForm::kLatent, 1, 100).form, ExpertForm::kLatent);
  EXPECT_EQ(choose_experts(config, ExpertForm::kDense, 100, 1).form, ExpertForm::kDense);
}

TEST(ChooseExperts, LinearLatentsAreDenseWhereThatReadsLess) {
  const auto choose = [](const LatentConfig& latent, std::uint64_t available) {
    return choose_experts(wide_moe(latent), ExpertForm::kAuto, 1000, available);
  };
  const LatentConfig one_group{.latent_dim = 16}, pairs{.latent_dim = 36, .group_size = 2};
  ASSERT_LT(latent_outlook(wide_moe(one_group), one_group).read_ratio_1, 1);
  ASSERT_GT(latent_outlook(wide_moe(pairs), pairs).read_ratio_1, 1);
  EXPECT_EQ(choose(one_group, 1 << 30).form, ExpertForm::kLatent);
  EXPECT_NE(choose(one_group, 1 << 30).reason.find("they read 0."), std::string::npos);
  EXPECT_EQ(choose(pairs, 1 << 30).form, ExpertForm::kDense);
  EXPECT_EQ(choose(pairs, 1999).form, ExpertForm::kLatent);
}

TEST(ChooseExperts, RefusesLatentOfDenseExperts) {
  const Scratch scratch;
  for (const DecoderConfig& config : {small_moe(Family::kMixtral), small_config(Family::kLlama)}) {
    EXPECT_EQ(choose_experts(config, ExpertForm::kAuto, 0, 0).form, ExpertForm::kDense);
    EXPECT_EQ(choose_experts(config, ExpertForm::kDense, 0, 0).form, ExpertForm::kDense);
    EXPECT_TALPA_ERROR(choose_experts(config, ExpertForm::kLatent, 0, 0), kConfig,
                       "the model has no latent experts");
  }
  EXPECT_TALPA_ERROR(
      random_model(small_moe(Family::kMixtral), scratch, run_as(ExpertForm::kLatent)), kConfig,
      "experts = latent");
}

TEST(ExpertCacheBytes, AreAQuarterWithinHalfOfMemory) {
  EXPECT_EQ(expert_cache_bytes({}, 4000, 0), 1000u);
  EXPECT_EQ(expert_cache_bytes({}, 4000, 100000), 1000u);
  EXPECT_EQ(expert_cache_bytes({}, 4000, 1000), 500u);
  EXPECT_EQ(expert_cache_bytes(7, 4000, 10), 7u);
  EXPECT_EQ(expert_cache_bytes(5000, 4000, 10), 4000u);
}

TEST(MixedBases, AMalformedPivotMaskIsNamed) {
  const Scratch scratch;
  const DecoderConfig config = small_slbf();
  const WeightProvider provider = [](const WeightSpec& spec, float* target) {
    std::fill_n(target, num_elements(spec.shape), spec.name.ends_with("up_pivot") ? 1.0f : 0.01f);
    if (spec.name.ends_with("gate_pivot")) fill_pivots(spec.shape, 6, target);
  };
  save_hf_directory(scratch / "model", config, provider);
  for (const ExpertForm form : {ExpertForm::kDense, ExpertForm::kLatent})
    EXPECT_TALPA_ERROR(load_model(scratch / "model", run_as(form)), kFormat,
                       "layers.1.moe.up_pivot: row 0 marks 40 pivots, expected 6");
}

/// Anonymous memory of this process, bytes.
std::int64_t anonymous_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (std::int64_t kib = 0; word == "RssAnon:" && status >> kib) return kib * 1024;
  return 0;
}

TEST(MixedBases, LoadingAsDenseTakesALayerMoreAtMost) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  if (anonymous_memory() == 0) GTEST_SKIP() << "the system does not say what memory is used";
  const Scratch scratch;
  DecoderConfig config = small_slbf();
  config.dim = 256;
  config.num_layers = 6;
  config.moe.dense_layers = {};
  config.moe.num_experts = 24;
  config.moe.hidden_dim = config.moe.latent.latent_dim = 192;
  config.moe.latent.basis_rank = 24;
  save_random(config, scratch / "model");
  const ModelFiles files = open_model(scratch / "model");
  const std::int64_t before = anonymous_memory();
  std::atomic<bool> done = false;
  std::int64_t peak = 0;
  std::thread watch([&] {
    while (!done) {
      peak = std::max(peak, anonymous_memory());
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  const auto model = Model::load(files, {.experts = ExpertForm::kDense, .threads = 2});
  done = true;
  watch.join();
  const auto experts = static_cast<std::int64_t>(model->expert_bytes());
  const auto rest = static_cast<std::int64_t>(model->weight_bytes()) - experts;
  EXPECT_GT(peak - before, experts);
  constexpr std::int64_t kOther = 8 << 20;  // blocks begun, threads, logs
  EXPECT_LT(peak - before, rest + experts + experts / config.num_layers + kOther);
}

}  // namespace
}  // namespace talpa::testing
