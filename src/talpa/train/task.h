#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "talpa/nn/decoder.h"

namespace talpa::train {

/// What one micro-batch gave.
struct LossResult {
  at::Tensor loss;                        ///< 0-dim, to be minimised
  double share = 1;                       ///< of the micro-batch that this process computed
  std::int64_t num_tokens = 0;            ///< scored
  std::map<std::string, double> metrics;  ///< shown beside the loss, averaged over a log interval
  std::map<std::string, double> totals;   ///< shown too, summed over a step and processes
  std::vector<nn::RouterRecord> routing;  ///< of MoE layers
  double data_seconds = 0;                ///< of making the batch
};

/// One kind of work that a Trainer can do: its data, its model and its loss. Batches depend on
/// (step, micro-batch) and the seed only, so that a resumed run sees the same ones. Where several
/// processes train, each has a task that computes its share; all call the same members in one
/// order.
class Task {
 public:
  virtual ~Task() = default;
  virtual std::map<std::string, at::Tensor>& parameters() = 0;
  /// Whether processes hold shares of a parameter, split along its first dimension.
  virtual bool is_split(const std::string&) const { return false; }
  virtual LossResult training_loss(std::int64_t step, int micro_batch) = 0;
  /// After the optimiser has changed the parameters by all micro-batches of a step. Not called for
  /// a step that is skipped.
  virtual void after_step() {}
  /// Operations (two a multiply-add) of one token, forward and backward; 0 = not known.
  virtual double flops_per_token() const { return 0; }
  /// Held-out metrics by name; "loss" is among them. The same on all processes.
  virtual std::map<std::string, double> evaluate() = 0;
  /// Writes the model as a Hugging Face directory that `path` must not hold yet; the first process
  /// does, with the shares of all.
  virtual void save_model(const std::filesystem::path& path, DType dtype) = 0;
  /// Fills the parameters from such a directory.
  virtual void load_model(const std::filesystem::path& path) = 0;
};

}  // namespace talpa::train
