#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/report/table.h"

namespace talpa {

/// A run folder of `talpa train`, as far as it has come.
struct TrainingRun {
  std::filesystem::path path;
  std::string name;
  std::int64_t steps = 0;  ///< of the recipe
  bool finished = false;   ///< the final model is there
  std::vector<Json> rows;  ///< of metrics.jsonl, steps ascending; a torn line is left out

  /// The newest number under a key of the rows.
  std::optional<double> last(const std::string& key) const;
  /// (step, value) of every row that has the key, a number.
  std::vector<std::pair<double, double>> curve(const std::string& key) const;
  /// Of the rows' expert loads, an extreme over layers: "max_over_mean" or "min_over_mean".
  std::vector<std::pair<double, double>> load_curve(const std::string& key) const;
};

/// Throws kNotFound if the folder holds no config.json with metrics.jsonl beside it, kFormat for
/// a configuration that is none.
TrainingRun read_training_run(const std::filesystem::path& path);

/// Every run in a folder (itself, or up to three levels below), by path.
std::vector<TrainingRun> find_training_runs(const std::filesystem::path& folder);

/// One row a run with its last numbers; the same as JSON.
Table runs_table(const std::vector<TrainingRun>& runs);
Json runs_json(const std::vector<TrainingRun>& runs);

/// A self-contained page: curves of loss, held-out loss, learning rate, gradient norm, load of
/// experts and speed, one line a run, and the table.
std::string runs_html(const std::vector<TrainingRun>& runs);
/// The curves of held-out loss alone. Throws kUsage where no run has one.
std::string held_out_svg(const std::vector<TrainingRun>& runs);

}  // namespace talpa
