#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "talpa/collective/mesh.h"

namespace talpa::testing {

/// body(mesh) on `size` threads that meet as processes do. The first exception is thrown on.
inline void run_ranks(int size, int expert_parallel,
                      const std::function<void(collective::Mesh&)>& body) {
  // Below those that the system gives to whoever asks.
  static int port = 20000 + static_cast<int>(::getpid() % 12000);
  ++port;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank, at = port] {
      try {
        collective::Mesh mesh({.rank = rank, .size = size, .local_size = size, .port = at}, "cpu",
                              expert_parallel);
        body(mesh);
        mesh.close();
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace talpa::testing
