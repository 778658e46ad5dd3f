#include "talpa/train/run_log.h"

#include <sys/resource.h>
#include <torch/torch.h>

#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/report/table.h"

namespace talpa::train {

double peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

void StepRecord::add(const LossResult& result, double parts) {
  tokens += result.num_tokens;
  for (const auto& [name, value] : result.metrics) metrics[name] += value / parts;
  for (const auto& [name, value] : result.totals) metrics[name] += value;
  load.add(result.routing);
}

RunLog::RunLog(const TrainerConfig& config, const RunOptions& options, std::int64_t first_step,
               bool evaluates_again, double flops_per_token)
    : config_(config),
      peak_flops_(options.peak_flops),
      flops_per_token_(flops_per_token),
      metrics_(options.directory / "metrics.jsonl", first_step, evaluates_again) {
  if (config.tensorboard) events_.emplace(options.directory / "tensorboard", first_step);
}

void RunLog::add(StepRecord record) {
  sum_.learning_rate = record.learning_rate;
  sum_.data_seconds += record.data_seconds;
  sum_.forward_seconds += record.forward_seconds;
  sum_.backward_seconds += record.backward_seconds;
  sum_.optimizer_seconds += record.optimizer_seconds;
  sum_.exchange_seconds += record.exchange_seconds;
  sum_.tokens += record.tokens;
  ++num_steps_;
  if (record.skipped) return;
  ++num_taken_;
  sum_.loss += record.loss;
  sum_.gradient_norm += record.gradient_norm;
  for (const auto& [name, value] : record.metrics) sum_.metrics[name] += value;
  sum_.load.add(record.load);
}

Json RunLog::row_of(std::int64_t done, std::int64_t num_skipped) const {
  const double n = static_cast<double>(num_steps_), taken = static_cast<double>(num_taken_);
  const double seconds =
      sum_.forward_seconds + sum_.backward_seconds + sum_.optimizer_seconds + sum_.exchange_seconds;
  const double rate = static_cast<double>(sum_.tokens) / seconds;
  Json row{{"step", done},
           {"loss", number_or_null(sum_.loss / taken)},
           {"gradient_norm", number_or_null(sum_.gradient_norm / taken)},
           {"learning_rate", sum_.learning_rate},
           {"tokens_per_second", rate},
           {"step_seconds",
            {{"data", sum_.data_seconds / n},
             {"forward", (sum_.forward_seconds - sum_.data_seconds) / n},
             {"backward", sum_.backward_seconds / n},
             {"optimizer", sum_.optimizer_seconds / n}}},
           {"peak_memory_bytes", peak_memory()}};
  if (sum_.exchange_seconds > 0) row["step_seconds"]["exchange"] = sum_.exchange_seconds / n;
  if (peak_flops_ > 0 && flops_per_token_ > 0) row["mfu"] = rate * flops_per_token_ / peak_flops_;
  if (config_.spike_guard.deviations > 0) row["skipped_steps"] = num_skipped;
  for (const auto& [name, value] : sum_.metrics) row[name] = value / taken;
  if (!sum_.load.empty()) row["expert_load"] = sum_.load.report();
  return row;
}

void RunLog::write(std::int64_t done, std::int64_t num_skipped) {
  const Json row = row_of(done, num_skipped);
  metrics_.write(row);
  if (events_) write_events(done, row);
  const double rate = row["tokens_per_second"];
  const double n = static_cast<double>(num_steps_), taken = static_cast<double>(num_taken_);
  const double left =
      static_cast<double>(sum_.tokens) / n / rate * static_cast<double>(config_.steps - done);
  std::string rest;
  if (row.contains("mfu")) rest += fmt::format("  mfu {:.0f} %", 100 * row["mfu"].get<double>());
  rest += "  " + format_bytes(row["peak_memory_bytes"].get<double>());
  if (num_skipped > 0) rest += fmt::format("  {} skipped", num_skipped);
  if (!sum_.load.empty()) rest += "  " + sum_.load.summary();
  if (const auto moved = row.find("expert_bytes"); moved != row.end())
    rest += fmt::format(
        "  experts moved {} a step, {:.0f} % of whole rows", format_bytes(moved->get<double>()),
        100 * moved->get<double>() / row["expert_bytes_of_whole_rows"].get<double>());
  log::info("step {}/{}  loss {:.4f}  norm {:.2f}  lr {:.2e}  {:.0f} tok/s  {} left{}", done,
            config_.steps, sum_.loss / taken, sum_.gradient_norm / taken, sum_.learning_rate, rate,
            format_duration(left), rest);
  sum_ = {};
  num_steps_ = num_taken_ = 0;
}

void RunLog::write_evaluation(std::int64_t done, const std::map<std::string, double>& held_out,
                              double seconds) {
  Json row{{"step", done}, {"evaluation_seconds", seconds}};
  std::string shown;
  for (const auto& [name, value] : held_out) {
    row["valid_" + name] = number_or_null(value);
    shown += fmt::format("  {} {:.4f}", name, value);
  }
  metrics_.write(row);
  if (events_) write_events(done, row);
  log::info("step {}/{}  held out:{}", done, config_.steps, shown);
}

void RunLog::write_events(std::int64_t done, const Json& row) {
  for (const auto& [name, value] : row.items()) {
    if (value.is_number() && name != "step") events_->scalar(done, name, value);
    if (value.is_object())
      for (const auto& [part, number] : value.items())
        events_->scalar(done, name + "/" + part, number);
    if (name == "expert_load")
      for (const auto& layer : value)
        for (const char* part : {"max_over_mean", "entropy"})
          events_->scalar(done, fmt::format("{}/layer_{}", part, layer["layer"].get<int>()),
                          layer[part]);
  }
  events_->flush();
}

}  // namespace talpa::train
