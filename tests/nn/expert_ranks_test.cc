#include "talpa/nn/moe/expert_ranks.h"

#include <torch/torch.h>

#include <random>

#include "ranks.h"

namespace talpa::nn {
namespace {

constexpr int kSharedExperts = 6, kRowsOfRank = 9, kSharedWidth = 5, kSharedHidden = 4;

/// Rows of one process' batch, each to two experts; expert 3 gets none.
struct ExpertBatch {
  at::Tensor x, weight_S;
  SwigluPlan plan;

  explicit ExpertBatch(int seed, int rows = kRowsOfRank) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::vector<std::pair<int, std::int32_t>> slots;
    for (int row = 0; row < rows; ++row) {
      const int one = static_cast<int>(random() % kSharedExperts);
      for (const int expert : {one, (one + 1) % kSharedExperts})
        slots.emplace_back(expert == 3 ? 0 : expert, row);
    }
    std::stable_sort(slots.begin(), slots.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::int32_t> row_of;
    plan.offsets.assign(kSharedExperts + 1, 0);
    for (const auto& [expert, row] : slots) {
      row_of.push_back(row);
      for (int e = expert; e < kSharedExperts; ++e) ++plan.offsets[static_cast<std::size_t>(e) + 1];
    }
    plan.gate = plan.up = plan.down = RowMap(row_of, rows);
    const auto generator = at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed));
    x = at::randn({rows, kSharedWidth}, generator, at::kDouble).set_requires_grad(true);
    weight_S = at::rand({static_cast<std::int64_t>(slots.size())}, generator, at::kDouble)
                   .set_requires_grad(true);
  }
};

SwigluWeights weights_to_share() {
  const auto generator = at::detail::createCPUGenerator(99);
  return {at::randn({kSharedExperts, kSharedHidden, kSharedWidth}, generator, at::kDouble),
          at::randn({kSharedExperts, kSharedHidden, kSharedWidth}, generator, at::kDouble),
          at::randn({kSharedExperts, kSharedWidth, kSharedHidden}, generator, at::kDouble)};
}

SwigluWeights leaves_of(const SwigluWeights& weights,
                        const std::function<at::Tensor(at::Tensor)>& of) {
  const auto leaf = [&](const at::Tensor& w) { return of(w).clone().set_requires_grad(true); };
  return {leaf(weights.gate_NMI), leaf(weights.up_NMJ), leaf(weights.down_NOM)};
}

void expect_shared_close(const at::Tensor& a, const at::Tensor& b, const char* what) {
  EXPECT_TRUE(a.allclose(b, 1e-12, 1e-12)) << what << " " << (a - b).abs().max();
}

/// Processes with batches of their own, one of them without rows, against one with all experts.
void check_against_one(int size) {
  const auto rows_of = [&](int rank) { return rank == 1 ? 0 : kRowsOfRank; };
  std::vector<ExpertBatch> alone;
  const SwigluWeights all = leaves_of(weights_to_share(), [](const at::Tensor& w) { return w; });
  std::vector<at::Tensor> expected;
  for (int rank = 0; rank < size; ++rank) {
    ExpertBatch& batch = alone.emplace_back(rank, rows_of(rank));
    expected.push_back(routed_swiglu(batch.x, batch.x, batch.weight_S, all, batch.plan));
    (expected.back() * (rank + 1)).square().sum().backward();
  }
  testing::run_ranks(size, size, [&](collective::Mesh& mesh) {
    const int rank = mesh.world().rank();
    ExpertRanks experts(*mesh.experts());
    ExpertBatch batch(rank, rows_of(rank));
    const SwigluWeights own =
        leaves_of(weights_to_share(), [&](const at::Tensor& w) { return experts.share_of(w); });
    const at::Tensor y = experts.swiglu(batch.x, batch.x, batch.weight_S, own, batch.plan,
                                        batch.plan.gate, kSharedWidth);
    (y * (rank + 1)).square().sum().backward();
    const ExpertBatch& one = alone[static_cast<std::size_t>(rank)];
    expect_shared_close(y, expected[static_cast<std::size_t>(rank)], "y");
    expect_shared_close(batch.x.grad(), one.x.grad(), "dx");
    expect_shared_close(batch.weight_S.grad(), one.weight_S.grad(), "dweight");
    expect_shared_close(own.gate_NMI.grad(), experts.share_of(all.gate_NMI.grad()), "dgate");
    expect_shared_close(own.up_NMJ.grad(), experts.share_of(all.up_NMJ.grad()), "dup");
    expect_shared_close(own.down_NOM.grad(), experts.share_of(all.down_NOM.grad()), "ddown");
    expect_shared_close(experts.whole_of(own.gate_NMI.detach()), all.gate_NMI.detach(), "whole");
    EXPECT_EQ(experts.traffic().moved, experts.traffic().whole_rows);
  });
}

TEST(ExpertRanks, TwoGiveWhatOneGives) { check_against_one(2); }
TEST(ExpertRanks, ThreeGiveWhatOneGives) { check_against_one(3); }

TEST(ExpertRanks, MustShareEvenly) {
  testing::run_ranks(4, 4, [](collective::Mesh& mesh) {
    ExpertRanks experts(*mesh.experts());
    const ExpertBatch batch(1);
    EXPECT_THROW(experts.swiglu(batch.x, batch.x, batch.weight_S, weights_to_share(), batch.plan,
                                batch.plan.gate, kSharedWidth),
                 Error);
  });
}

}  // namespace
}  // namespace talpa::nn
