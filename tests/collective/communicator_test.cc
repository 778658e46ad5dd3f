#include "talpa/collective/communicator.h"

#include <torch/torch.h>

#include <cstdlib>
#include <functional>

#include "ranks.h"
#include "scratch.h"
#include "talpa/base/stopwatch.h"

namespace talpa::collective {
namespace {

class Environment {
 public:
  explicit Environment(std::vector<std::pair<const char*, const char*>> variables)
      : variables_(std::move(variables)) {
    for (const auto& [name, value] : variables_) ::setenv(name, value, 1);
  }
  ~Environment() {
    for (const auto& [name, value] : variables_) ::unsetenv(name);
  }

 private:
  std::vector<std::pair<const char*, const char*>> variables_;
};

TEST(Rendezvous, ReadsEveryLauncher) {
  EXPECT_FALSE(rendezvous_from_environment());
  {
    const Environment torchrun({{"RANK", "3"},
                                {"WORLD_SIZE", "8"},
                                {"LOCAL_WORLD_SIZE", "4"},
                                {"MASTER_ADDR", "node7"},
                                {"MASTER_PORT", "1234"}});
    const auto place = rendezvous_from_environment();
    ASSERT_TRUE(place);
    EXPECT_EQ(place->rank, 3);
    EXPECT_EQ(place->size, 8);
    EXPECT_EQ(place->local_size, 4);
    EXPECT_EQ(place->address, "node7");
    EXPECT_EQ(place->port, 1234);
  }
  const Environment mpirun({{"OMPI_COMM_WORLD_RANK", "1"},
                            {"OMPI_COMM_WORLD_SIZE", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  EXPECT_EQ(rendezvous_from_environment()->rank, 1);
  EXPECT_EQ(rendezvous_from_environment()->address, "127.0.0.1");
}

TEST(Rendezvous, NamesWhatIsWrong) {
  {
    const Environment slurm({{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "4"}});
    EXPECT_TALPA_ERROR(rendezvous_from_environment(), kConfig, "MASTER_ADDR");
  }
  {
    const Environment broken({{"RANK", "one"}, {"WORLD_SIZE", "4"}});
    EXPECT_TALPA_ERROR(rendezvous_from_environment(), kConfig, "RANK = one");
  }
  const Environment outside({{"RANK", "4"}, {"WORLD_SIZE", "4"}});
  EXPECT_TALPA_ERROR(rendezvous_from_environment(), kConfig, "not below");
}

TEST(Communicator, SumsAndBroadcasts) {
  testing::run_ranks(3, 1, [](Mesh& mesh) {
    Communicator& world = mesh.world();
    at::Tensor x = torch::full({5}, static_cast<float>(world.rank() + 1));
    world.sum(x);
    EXPECT_TRUE(x.eq(6).all().item<bool>());
    std::vector<std::int64_t> counts{world.rank(), 1};
    world.sum(counts);
    EXPECT_EQ(counts, (std::vector<std::int64_t>{3, 3}));
    at::Tensor y = torch::full({2, 2}, static_cast<float>(world.rank()));
    world.broadcast(y, 2);
    EXPECT_TRUE(y.eq(2).all().item<bool>());
  });
}

TEST(Communicator, GathersUnevenRows) {
  testing::run_ranks(3, 1, [](Mesh& mesh) {
    Communicator& world = mesh.world();
    const int rank = world.rank();
    const at::Tensor all = world.gather_rows(torch::full({rank * 2, 3}, static_cast<float>(rank)));
    ASSERT_EQ(all.sizes(), (std::vector<std::int64_t>{6, 3}));
    EXPECT_EQ(all.select(1, 0).sum().item<float>(), 2 * 1 + 4 * 2);
    EXPECT_EQ(world.gather_text(std::string(static_cast<std::size_t>(rank), 'x')),
              (std::vector<std::string>{"", "x", "xx"}));
  });
}

TEST(Communicator, ExchangesUnevenRows) {
  testing::run_ranks(2, 1, [](Mesh& mesh) {
    Communicator& world = mesh.world();
    // Process 0 sends one row to itself and two to process 1, which sends none to anyone.
    const bool first = world.rank() == 0;
    const at::Tensor x = first ? torch::arange(6.0).view({3, 2}) : torch::empty({0, 2});
    const at::Tensor y = world.exchange_rows(
        x, first ? std::vector<std::int64_t>{1, 2} : std::vector<std::int64_t>{0, 0},
        {first ? 1 : 2, 0});
    EXPECT_TRUE(y.equal(torch::arange(6.0).view({3, 2}).narrow(0, first ? 0 : 1, first ? 1 : 2)));
  });
}

// Shows what the loopback carries; run with --gtest_also_run_disabled_tests.
TEST(Communicator, DISABLED_Bandwidth) {
  constexpr std::int64_t kFloats = 25'000'000;
  for (const int size : {2, 4})
    testing::run_ranks(size, 1, [&](Mesh& mesh) {
      Communicator& world = mesh.world();
      const auto timed = [&](const char* what, double bytes, const std::function<void()>& body) {
        double best = 1e9;
        for (int i = 0; i < 5; ++i) {
          world.barrier();
          const Stopwatch watch;
          body();
          best = std::min(best, watch.elapsed().wall);
        }
        if (world.is_first())
          fmt::print("{} processes, {}: {:.3f} s, {:.2f} GB/s a process\n", size, what, best,
                     bytes / best / 1e9);
      };
      at::Tensor x = torch::ones({kFloats});
      timed("all-reduce of 100 MB", 2.0 * (size - 1) / size * 4 * kFloats, [&] { world.sum(x); });
      const at::Tensor rows = torch::ones({kFloats / 1000, 1000});
      const std::vector<std::int64_t> equal(static_cast<std::size_t>(size), rows.size(0) / size);
      timed("all-to-all of 100 MB", static_cast<double>(size - 1) / size * 4 * kFloats,
            [&] { world.exchange_rows(rows, equal, equal); });
      at::Tensor small = torch::ones({256});
      timed("all-reduce of 1 KB", 1024, [&] { world.sum(small); });
    });
}

TEST(Mesh, DividesTheProcesses) {
  testing::run_ranks(4, 2, [](Mesh& mesh) {
    const int rank = mesh.world().rank();
    ASSERT_NE(mesh.experts(), nullptr);
    ASSERT_NE(mesh.replicas(), nullptr);
    EXPECT_EQ(mesh.experts()->rank(), rank % 2);
    EXPECT_EQ(mesh.replicas()->rank(), rank / 2);
    std::vector<std::int64_t> ranks{rank};
    mesh.replicas()->sum(ranks);
    EXPECT_EQ(ranks[0], rank % 2 == 0 ? 0 + 2 : 1 + 3);
  });
}

TEST(Mesh, RefusesWhatDoesNotDivide) {
  EXPECT_TALPA_ERROR(Mesh({.rank = 0, .size = 4}, "cpu", 3), kConfig, "does not divide");
}

TEST(Mesh, AFailureIsToldToAll) {
  EXPECT_TALPA_ERROR(testing::run_ranks(2, 1,
                                        [](Mesh& mesh) {
                                          mesh.world().set_position("step 7");
                                          if (mesh.world().rank() == 1)
                                            mesh.world().announce_failure("the disk is full");
                                          else
                                            mesh.world().barrier();
                                          throw Error(ErrorCode::kIo, "ended");
                                        }),
                     kIo, "ended: the disk is full, seen in all-reduce at step 7");
}

}  // namespace
}  // namespace talpa::collective
