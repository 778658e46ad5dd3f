#pragma once

#include <memory>
#include <string>

#include "talpa/collective/communicator.h"
#include "talpa/collective/rendezvous.h"

namespace talpa::collective {

/// The processes of a job, and two ways to divide them: `experts` are E neighbours that hold one
/// copy of all experts between them, `replicas` those of equal place among them, which hold the
/// same experts. Null where that is one process.
class Mesh {
 public:
  /// Meets the others, for tensors of `device`. Throws kConfig if the number of processes is no
  /// multiple of `expert_parallel`, kIo naming who did not come within five minutes.
  Mesh(const Rendezvous& place, const std::string& device, int expert_parallel);
  /// Waits for all others to come here; no operation may follow. Without it the others take this
  /// process for lost when it ends.
  void close();

  Communicator& world() { return *world_; }
  Communicator* experts() { return experts_.get(); }
  Communicator* replicas() { return replicas_.get(); }

 private:
  std::unique_ptr<Communicator> subgroup(const std::string& name, int first, int stride, int size);

  const Rendezvous place_;
  const std::string device_;
  c10::intrusive_ptr<c10d::Store> store_;
  std::shared_ptr<Peers> peers_;
  std::unique_ptr<Communicator> world_, experts_, replicas_;
};

}  // namespace talpa::collective
