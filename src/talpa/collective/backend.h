#pragma once

#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "talpa/collective/rendezvous.h"

namespace talpa::collective {

/// c10d's collectives for tensors of a device ("cpu", "cuda:0"), met over `store`: gloo on CPUs.
/// The one place that knows an implementation. `address` is where the job meets: a loopback address
/// keeps traffic on it; else GLOO_SOCKET_IFNAME names the interface, by default that of the host's
/// name. Throws kUnsupported for a device that nothing here serves, c10d's exceptions where the
/// others do not come within a minute.
c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& device,
                                               const std::string& address,
                                               c10::intrusive_ptr<c10d::Store> store, int rank,
                                               int size);

}  // namespace talpa::collective
