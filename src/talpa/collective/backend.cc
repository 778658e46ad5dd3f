// What the wheel's header asks for to declare the class that libtorch_cpu.so holds.
#define USE_C10D_GLOO
#include "talpa/collective/backend.h"

#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "talpa/base/error.h"

namespace talpa::collective {

namespace {

// gloo's headers are Debian's, its code is inside libtorch: their idea of these must be one.
static_assert(sizeof(c10d::ProcessGroupGloo) == 488);
static_assert(sizeof(c10d::ProcessGroupGloo::Options) == 184);

// A lost process is found by its connections and heartbeats; waiting for a slow one is right. Not
// so while processes meet, when none is watched.
constexpr std::chrono::seconds kMeeting{60};
constexpr std::chrono::hours kTimeout{24};

std::shared_ptr<gloo::transport::Device> device_for(const std::string& address) {
  if (address == "localhost" || address.starts_with("127.") || address == "::1")
    return c10d::ProcessGroupGloo::createDeviceForHostname(address);
  if (const char* interface = std::getenv("GLOO_SOCKET_IFNAME"); interface != nullptr)
    return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  return c10d::ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& device,
                                               const std::string& address,
                                               c10::intrusive_ptr<c10d::Store> store, int rank,
                                               int size) {
  if (!device.starts_with("cpu"))
    fail(ErrorCode::kUnsupported,
         "trainer.device = {}: several processes train on CPUs only; their collectives on GPUs "
         "need NCCL's headers, which this build lacks",
         device);
  auto options = c10d::ProcessGroupGloo::Options::create(kMeeting);
  options->devices = {device_for(address)};
  auto group = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
  group->setTimeout(kTimeout);
  return group;
}

}  // namespace talpa::collective
