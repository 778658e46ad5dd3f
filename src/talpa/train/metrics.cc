#include "talpa/train/metrics.h"

#include <algorithm>

#include "talpa/base/file.h"
#include "talpa/route/plan.h"

namespace talpa::train {

namespace {

/// Lines of an earlier part of the run up to `last_step`; a torn last line is dropped.
std::string kept_lines(const std::filesystem::path& path, std::int64_t last_step,
                       bool evaluates_again) {
  if (last_step <= 0 || !std::filesystem::exists(path)) return {};
  std::ifstream in(path);
  std::string line, kept;
  while (std::getline(in, line)) {
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object()) continue;
    const std::int64_t step = row.value("step", last_step + 1);
    const bool again = evaluates_again && row.contains("evaluation_seconds");
    if (step < last_step || (step == last_step && !again)) kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::int64_t resumed_step,
                       bool evaluates_again)
    : path_(path) {
  write_text(path, kept_lines(path, resumed_step, evaluates_again));
  out_.open(path, std::ios::app);
  if (!out_) fail(ErrorCode::kIo, "cannot write {}", path.string());
}

void MetricsLog::write(const Json& row) {
  out_ << row.dump() << '\n' << std::flush;
  if (!out_) fail(ErrorCode::kIo, "cannot write {}", path_.string());
}

void ExpertLoad::add(int layer, const std::vector<std::int64_t>& rows) {
  auto& sum = rows_[layer];
  sum.resize(rows.size());
  for (std::size_t e = 0; e < rows.size(); ++e) sum[e] += rows[e];
}

void ExpertLoad::add(const std::vector<nn::RouterRecord>& records) {
  for (const auto& record : records) add(record.layer, record.rows_per_expert);
}

void ExpertLoad::add(const ExpertLoad& other) {
  for (const auto& [layer, rows] : other.rows_) add(layer, rows);
}

Json ExpertLoad::report() const {
  Json layers = Json::array();
  for (const auto& [layer, rows] : rows_) {
    const LoadStatistics s = load_statistics(rows);
    layers.push_back({{"layer", layer},
                      {"max_over_mean", s.max_over_mean},
                      {"min_over_mean", s.min_over_mean},
                      {"entropy", s.relative_entropy},
                      {"unused", s.num_unused}});
  }
  return layers;
}

std::string ExpertLoad::summary() const {
  double low = 1, high = 1;
  int unused = 0;
  for (const auto& [layer, rows] : rows_) {
    const LoadStatistics s = load_statistics(rows);
    low = std::min(low, s.min_over_mean);
    high = std::max(high, s.max_over_mean);
    unused += s.num_unused;
  }
  return fmt::format("load {:.2f}-{:.2f} unused {}", low, high, unused);
}

}  // namespace talpa::train
