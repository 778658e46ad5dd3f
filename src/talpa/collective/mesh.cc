#include "talpa/collective/mesh.h"

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "talpa/base/error.h"
#include "talpa/collective/backend.h"

namespace talpa::collective {

namespace {

constexpr int kPatience = 300;  // seconds

c10::intrusive_ptr<c10d::Store> connect_store(const Rendezvous& place, bool serve) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(place.port);
  options.isServer = serve;
  options.waitWorkers = false;
  options.timeout = std::chrono::seconds(kPatience);
  try {
    return c10::make_intrusive<c10d::TCPStore>(place.address, options);
  } catch (const std::exception& error) {
    const std::string message = error.what();
    fail(ErrorCode::kIo, "rank {} of {} cannot {} {}:{}: {}", place.rank, place.size,
         serve ? "listen on" : "reach rank 0 at", place.address, place.port,
         message.substr(0, message.find('\n')));
  }
}

}  // namespace

Mesh::Mesh(const Rendezvous& place, const std::string& device, int expert_parallel)
    : place_(place), device_(device) {
  if (place.size % expert_parallel != 0)
    fail(ErrorCode::kConfig,
         "trainer.distribution.expert_parallel = {} does not divide the {} processes",
         expert_parallel, place.size);
  store_ = connect_store(place, place.rank == 0);
  peers_ = std::make_shared<Peers>([&] { return connect_store(place, false); }, place.rank,
                                   place.size, kPatience);
  world_ = subgroup("world", 0, 1, place.size);
  if (expert_parallel == 1) return;
  const int place_among_experts = place.rank % expert_parallel;
  const int first = place.rank - place_among_experts;
  experts_ = subgroup(fmt::format("experts-{}", first), first, 1, expert_parallel);
  if (place.size > expert_parallel)
    replicas_ = subgroup(fmt::format("replicas-{}", place_among_experts), place_among_experts,
                         expert_parallel, place.size / expert_parallel);
}

void Mesh::close() {
  world_->barrier();
  peers_->stop();
  // Rank 0 holds the store, which a watching process would miss.
  world_->barrier();
}

std::unique_ptr<Communicator> Mesh::subgroup(const std::string& name, int first, int stride,
                                             int size) {
  const auto store = c10::make_intrusive<c10d::PrefixStore>(name, store_);
  std::string reason;
  try {
    return std::make_unique<Communicator>(
        make_backend(device_, place_.address, store, (place_.rank - first) / stride, size), peers_);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    reason = error.what();
  }
  const auto lost = peers_->diagnose();
  fail(ErrorCode::kIo, "rank {} of {} could not meet the others: {}", place_.rank, place_.size,
       lost ? *lost : reason.substr(0, reason.find('\n')));
}

}  // namespace talpa::collective
