#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "talpa/collective/mesh.h"

namespace talpa::train {

struct StepRecord;
using NamedTensors = std::map<std::string, at::Tensor>;

/// What the processes of a run do together, so that they compute what one would. Each has its share
/// of every batch; all have the same parameters, but for split ones (experts, along their first
/// dimension), and take the same decisions.
class Replicas {
 public:
  using IsSplit = std::function<bool(const std::string&)>;
  Replicas(collective::Mesh& mesh, IsSplit is_split)
      : mesh_(mesh), is_split_(std::move(is_split)) {}

  collective::Communicator& world() { return mesh_.world(); }
  bool is_first() { return world().is_first(); }
  /// Of a parameter, or of what belongs to one, "PARAMETER/mean".
  bool is_split(const std::string& name) const;

  /// The first process' values everywhere, where values are the same by intention.
  void align(const NamedTensors& parameters);
  /// Gradients summed over all processes that hold a parameter, in flat buckets.
  void sum_gradients(const NamedTensors& parameters);
  /// Throws kConfig, on every process, naming the first whose `text` is not that of the first
  /// process; `what` says what differs.
  void check_alike(const std::string& text, const std::string& what);
  /// The first process' value: sums of large tensors depend on a process' number of threads.
  double first_value(double own);
  /// A sum over the shares of split parameters.
  double sum_of_shares(double own);
  /// Sums what the shares of a step gave; true if any process was asked to stop.
  bool combine(StepRecord& record, bool stop);

  /// Whole tensors of a state, on the first process at least. `sharded`: processes hold different
  /// parts of what is not split.
  NamedTensors whole(const NamedTensors& state, bool sharded);
  /// A tensor's share where its name is split: [first, first + count) of the first dimension.
  at::Tensor share_of(const std::string& name, const at::Tensor& whole);
  std::vector<std::int64_t> whole_shape(const std::string& name, const at::Tensor& share);

 private:
  void fetch_missing(NamedTensors& result, const NamedTensors& state);

  collective::Mesh& mesh_;
  IsSplit is_split_;
};

/// Runs body on flat copies of at most about 32 MB of neighbouring tensors of one type, and copies
/// what it made of them back.
void in_buckets(const std::vector<at::Tensor>& tensors,
                const std::function<void(at::Tensor flat)>& body);

}  // namespace talpa::train
