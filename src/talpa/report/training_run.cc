#include "talpa/report/training_run.h"

#include <algorithm>
#include <fstream>
#include <limits>

#include "talpa/base/error.h"
#include "talpa/base/log.h"

namespace talpa {

namespace fs = std::filesystem;

namespace {

constexpr const char* kRunConfig = "config.json";
constexpr const char* kRunMetrics = "metrics.jsonl";

bool is_run(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / kRunConfig, ignored) &&
         fs::is_regular_file(folder / kRunMetrics, ignored);
}

std::vector<Json> read_rows(const fs::path& path) {
  std::vector<Json> rows;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (row.is_object() && row.contains("step") && row["step"].is_number_integer())
      rows.push_back(std::move(row));
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Json& a, const Json& b) { return a["step"] < b["step"]; });
  return rows;
}

void collect(const fs::path& folder, int depth, std::vector<TrainingRun>& runs) {
  if (is_run(folder)) try {
      return runs.push_back(read_training_run(folder));
    } catch (const Error& error) {
      return log::warn("left out: {}", error.what());
    }
  if (depth == 0) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.is_directory(ignored) && !entry.is_symlink(ignored))
      collect(entry.path(), depth - 1, runs);
}

std::string shown(const std::optional<double>& value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : "";
}

}  // namespace

std::optional<double> TrainingRun::last(const std::string& key) const {
  for (auto row = rows.rbegin(); row != rows.rend(); ++row)
    if (row->contains(key) && (*row)[key].is_number()) return (*row)[key].get<double>();
  return std::nullopt;
}

std::vector<std::pair<double, double>> TrainingRun::curve(const std::string& key) const {
  std::vector<std::pair<double, double>> points;
  for (const Json& row : rows)
    if (row.contains(key) && row[key].is_number())
      points.emplace_back(row["step"].get<double>(), row[key].get<double>());
  return points;
}

std::vector<std::pair<double, double>> TrainingRun::load_curve(const std::string& key) const {
  const bool most = key == "max_over_mean";
  std::vector<std::pair<double, double>> points;
  for (const Json& row : rows) {
    if (!row.contains("expert_load") || !row["expert_load"].is_array()) continue;
    double extreme = most ? 0 : std::numeric_limits<double>::infinity();
    for (const Json& layer : row["expert_load"])
      if (layer.is_object() && layer.contains(key) && layer[key].is_number())
        extreme = most ? std::max(extreme, layer[key].get<double>())
                       : std::min(extreme, layer[key].get<double>());
    points.emplace_back(row["step"].get<double>(), extreme);
  }
  return points;
}

TrainingRun read_training_run(const fs::path& path) {
  if (!is_run(path))
    fail(ErrorCode::kNotFound, "{} holds no run: {} and {} are expected there", path.string(),
         kRunConfig, kRunMetrics);
  const Json config = read_json(path / kRunConfig);
  TrainingRun run;
  run.path = path;
  run.name = path.filename().string();
  std::error_code ignored;
  const bool has_final = fs::is_directory(path / "final", ignored);
  if (!config.is_object() || !config.contains("trainer") || !config["trainer"].is_object())
    fail(ErrorCode::kFormat, "{}: no table trainer", (path / kRunConfig).string());
  if (config.contains("name") && config["name"].is_string()) run.name = config["name"];
  const Json steps = config["trainer"].value("steps", Json(0));
  if (steps.is_number_integer()) run.steps = steps;
  run.rows = read_rows(path / kRunMetrics);
  // A finished run that goes on with more steps keeps its model until the end.
  run.finished = has_final && run.last("step").value_or(0) >= static_cast<double>(run.steps);
  return run;
}

std::vector<TrainingRun> find_training_runs(const fs::path& folder) {
  constexpr int kDepth = 3;
  if (!fs::is_directory(folder)) fail(ErrorCode::kNotFound, "{} is no folder", folder.string());
  std::vector<TrainingRun> runs;
  collect(folder, kDepth, runs);
  std::sort(runs.begin(), runs.end(),
            [](const TrainingRun& a, const TrainingRun& b) { return a.path < b.path; });
  return runs;
}

Table runs_table(const std::vector<TrainingRun>& runs) {
  Table table({"run", "step", "of", "state", "loss", "held out", "bits/byte", "tokens/s", "mfu %",
               "folder"});
  for (const TrainingRun& run : runs) {
    auto mfu = run.last("mfu");
    if (mfu) *mfu *= 100;
    table.add_row(
        {run.name, shown(run.last("step"), "{:.0f}"), std::to_string(run.steps),
         run.finished ? "finished" : "begun", shown(run.last("loss"), "{:.4f}"),
         shown(run.last("valid_loss"), "{:.4f}"), shown(run.last("valid_bits_per_byte"), "{:.4f}"),
         shown(run.last("tokens_per_second"), "{:.0f}"), shown(mfu, "{:.1f}"), run.path.string()});
  }
  return table;
}

Json runs_json(const std::vector<TrainingRun>& runs) {
  Json list = Json::array();
  for (const TrainingRun& run : runs) {
    Json item{{"path", run.path.string()},
              {"name", run.name},
              {"steps", run.steps},
              {"finished", run.finished}};
    for (const char* key :
         {"step", "loss", "valid_loss", "valid_bits_per_byte", "valid_ema_loss", "learning_rate",
          "tokens_per_second", "mfu", "peak_memory_bytes", "skipped_steps"})
      if (const auto value = run.last(key)) item[key] = *value;
    list.push_back(std::move(item));
  }
  return list;
}

}  // namespace talpa
