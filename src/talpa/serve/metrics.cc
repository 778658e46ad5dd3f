#include "talpa/serve/metrics.h"

#include <algorithm>

namespace talpa::serve {

namespace {

std::string head(const std::string& name, const char* type, const std::string& help) {
  return fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

template <class T>
std::string single(const std::string& name, const char* type, const std::string& help, T value) {
  return head(name, type, help) + fmt::format("{} {}\n", name, value);
}

std::string expert_text(const RoutingCounts& routing) {
  const std::string name = "talpa_expert_rows_total";
  std::string text;
  for (std::size_t layer = 0; layer < routing.rows_per_expert.size(); ++layer)
    for (std::size_t e = 0; e < routing.rows_per_expert[layer].size(); ++e)
      text += fmt::format("{}{{layer=\"{}\",expert=\"{}\"}} {}\n", name, layer, e,
                          routing.rows_per_expert[layer][e]);
  return text.empty() ? text : head(name, "counter", "Tokens sent to an expert.") + text;
}

}  // namespace

void Histogram::add(double seconds) {
  const auto at = std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin();
  ++counts_[static_cast<std::size_t>(at)];
  sum_ += seconds;
}

std::string Histogram::text(const std::string& name, const std::string& help) const {
  std::string text = head(name, "histogram", help);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    total += counts_[i];
    const std::string bound = i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf";
    text += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, bound, total);
  }
  return text + fmt::format("{0}_sum {1}\n{0}_count {2}\n", name, sum_, total);
}

void Metrics::add_request(const std::string& path, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{path, status}];
}

void Metrics::add_completion(const CompletionUsage& usage) {
  const std::lock_guard lock(mutex_);
  queue_.add(usage.queue_seconds);
  whole_.add(usage.seconds);
  if (usage.generated_tokens > 0) first_token_.add(usage.first_token_seconds);
  if (usage.generated_tokens > 1)
    token_.add((usage.seconds - usage.first_token_seconds) / (usage.generated_tokens - 1));
}

std::string Metrics::text(const SchedulerStats& stats) const {
  const std::lock_guard lock(mutex_);
  std::string text = head("talpa_http_requests_total", "counter", "Answers by path and status.");
  for (const auto& [key, count] : requests_)
    text += fmt::format("talpa_http_requests_total{{path=\"{}\",status=\"{}\"}} {}\n", key.first,
                        key.second, count);
  text += single("talpa_prompt_tokens_total", "counter", "Tokens of prompts that were read.",
                 stats.prompt_tokens);
  text += single("talpa_cached_prompt_tokens_total", "counter",
                 "Tokens of prompts that were there already.", stats.cached_tokens);
  text += single("talpa_generated_tokens_total", "counter", "Tokens generated.",
                 stats.generated_tokens);
  text += single("talpa_steps_total", "counter", "Steps of the model.", stats.steps);
  text += single("talpa_busy_seconds_total", "counter", "Time in steps.", stats.busy_seconds);
  text += single("talpa_requests_waiting", "gauge", "Requests in the queue.", stats.waiting);
  text += single("talpa_requests_running", "gauge", "Requests in the batch.", stats.running);
  text += single("talpa_kv_bytes", "gauge", "Keys and values held.", stats.kv_bytes);
  text += single("talpa_prefix_bytes", "gauge", "Keys and values kept for texts that begin alike.",
                 stats.prefix_bytes);
  text += queue_.text("talpa_queue_seconds", "Time in the queue.");
  text += first_token_.text("talpa_first_token_seconds", "Time to the first token.");
  text += token_.text("talpa_token_seconds", "Mean time of a request's further tokens.");
  text += whole_.text("talpa_completion_seconds", "Time of whole completions.");
  return text + expert_text(stats.routing);
}

}  // namespace talpa::serve
