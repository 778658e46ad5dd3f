#pragma once

#include <filesystem>
#include <fstream>

#include "talpa/base/config.h"
#include "talpa/nn/decoder.h"

namespace talpa::train {

/// `metrics.jsonl` of a run: one JSON object a line, each with "step". Opening for a resumed run
/// drops what lies behind the step it resumes from, and that step's evaluation where the run makes
/// it again.
class MetricsLog {
 public:
  MetricsLog(const std::filesystem::path& path, std::int64_t resumed_step,
             bool evaluates_again = false);
  void write(const Json& row);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

/// Rows of experts summed over micro-batches, layer by layer.
class ExpertLoad {
 public:
  void add(const std::vector<nn::RouterRecord>& records);
  void add(const ExpertLoad& other);
  bool empty() const { return rows_.empty(); }
  /// [{"layer", "max_over_mean", "min_over_mean", "entropy", "unused"}, ...]
  Json report() const;
  /// "load 0.42-2.10 unused 0": the extremes over all layers.
  std::string summary() const;

 private:
  void add(int layer, const std::vector<std::int64_t>& rows);
  std::map<int, std::vector<std::int64_t>> rows_;
};

}  // namespace talpa::train
