#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "talpa/collective/peers.h"

namespace talpa::collective {

/// Processes that compute together, by c10d. Every operation is one of all of them: all call it, in
/// one order. Each waits until it is done, and throws kIo naming the process that was lost where
/// one was. Sums have one order, and all processes get the same bits.
class Communicator {
 public:
  Communicator(c10::intrusive_ptr<c10d::Backend> backend, std::shared_ptr<Peers> peers);
  /// Where an operation cannot end any more its threads are left to the end of the process.
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return backend_->getRank(); }
  int size() const { return backend_->getSize(); }
  bool is_first() const { return rank() == 0; }

  /// Sums over processes, in place; of contiguous tensors.
  void sum(at::Tensor x);
  void sum(std::span<double> values);
  void sum(std::vector<std::int64_t>& values);
  void broadcast(at::Tensor x, int root);
  /// x [A, ...]: its first send[0] rows go to process 0, the next send[1] to process 1 ...; returns
  /// the recv[0] rows that came of process 0, then those of process 1 ...
  at::Tensor exchange_rows(const at::Tensor& x, const std::vector<std::int64_t>& send,
                           const std::vector<std::int64_t>& recv);
  /// Rows of all processes, in their order; numbers of rows may differ.
  at::Tensor gather_rows(const at::Tensor& x);
  std::vector<std::string> gather_text(const std::string& text);
  void barrier();

  /// Part of the message that names a lost process: "step 37".
  void set_position(const std::string& position) { position_ = position; }
  /// Whether an operation failed, so that no other can follow.
  bool is_broken() const { return broken_; }
  /// Tells the others why this process ends, before it does.
  void announce_failure(const std::string& reason) noexcept { peers_->announce_failure(reason); }

 private:
  void sum_view(const at::Tensor& view);
  template <class Start>
  void run(const char* operation, Start&& start);
  [[noreturn]] void fail_lost(const char* operation, const std::string& lost);

  c10::intrusive_ptr<c10d::Backend> backend_;
  std::shared_ptr<Peers> peers_;
  std::string position_ = "the start";
  bool broken_ = false;
};

}  // namespace talpa::collective
