#include "talpa/collective/rendezvous.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "talpa/base/error.h"

namespace talpa::collective {

namespace {

int number_of(const char* name, const char* text, int low, int high) {
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end || value < low || value > high)
    fail(ErrorCode::kConfig, "environment variable {} = {} is not a number from {} to {}", name,
         text, low, high);
  return value;
}

std::optional<int> number_at(const char* name, int low, int high) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  return number_of(name, text, low, high);
}

/// How one launcher names rank, size and the processes on a host.
struct Launcher {
  const char *rank, *size, *local_size;
};
// Inside a job of Slurm, other launchers' variables are those that count.
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"}};

constexpr int kMaxSize = 1 << 16;

}  // namespace

std::optional<Rendezvous> rendezvous_from_environment() {
  for (const Launcher& launcher : kLaunchers) {
    const auto rank = number_at(launcher.rank, 0, kMaxSize - 1);
    const auto size = number_at(launcher.size, 1, kMaxSize);
    if (!rank || !size) continue;
    if (*rank >= *size)
      fail(ErrorCode::kConfig, "environment variable {} = {} is not below {} = {}", launcher.rank,
           *rank, launcher.size, *size);
    if (*size == 1) return std::nullopt;
    Rendezvous found{.rank = *rank, .size = *size};
    // Slurm's is what a job may have on a host, which may be more.
    auto local_size = number_at(launcher.local_size, 1, kMaxSize);
    if (local_size) local_size = std::min(*local_size, *size);
    found.local_size = local_size.value_or(1);
    if (const char* address = std::getenv("MASTER_ADDR"); address != nullptr)
      found.address = address;
    else if (local_size != size)
      fail(ErrorCode::kConfig,
           "{} processes and no MASTER_ADDR: set it to the host of rank 0 (and MASTER_PORT, if "
           "29500 is taken there)",
           *size);
    found.port = number_at("MASTER_PORT", 1, 65535).value_or(found.port);
    return found;
  }
  return std::nullopt;
}

}  // namespace talpa::collective
