#include "talpa/eval/bench_report.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "talpa/base/cpu.h"
#include "talpa/kernel/implementation.h"

namespace talpa {

namespace {

std::string giga(double per_second) { return fmt::format("{:.1f}", per_second * 1e-9); }

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

std::string times(double ratio) { return fmt::format("{:.2f}", ratio); }

}  // namespace

std::string describe_experts(const LatentConfig& latent, int num_experts) {
  if (!latent.enabled()) return "dense";
  std::vector<std::string> factored;
  if (latent.factor_gate) factored.emplace_back("gate");
  if (latent.factor_up) factored.emplace_back("up");
  if (latent.factor_down) factored.emplace_back("down");
  std::string width = latent.down_latent_dim > 0
                          ? fmt::format("{}/{}", latent.latent_dim, latent.down_latent_dim)
                          : fmt::format("{}", latent.latent_dim);
  if (!latent.latent_dims.empty()) width = "by layer";
  return fmt::format("k={} r={} {}{}", latent.group_size > 0 ? latent.group_size : num_experts,
                     width, fmt::join(factored, ","), latent.share_gate_up_latent ? " shared" : "");
}

void judge(BenchReport& report) {
  const ThreadLimits& limits = report.meanwhile ? *report.meanwhile : report.limits.all;
  judge(report.layers, limits);
  judge(report.models, limits);
}

Table limits_table(const BenchReport& report) {
  const MachineLimits& limits = report.limits;
  std::vector<std::string> header = {"limit", "instructions", "unit", "1 thread", "per core-s"};
  std::vector<const ThreadLimits*> columns = {&limits.one};
  auto add_columns = [&](const ThreadLimits& threads, const char* when) {
    header.push_back(fmt::format("{} threads{}", threads.threads, when));
    header.emplace_back("per core-s");
    columns.push_back(&threads);
  };
  if (limits.all.threads > 1) add_columns(limits.all, "");
  if (report.meanwhile) add_columns(*report.meanwhile, " meanwhile");
  Table table(header);
  auto add = [&](const char* name, const std::string& with, const char* unit,
                 Rate ThreadLimits::*rate) {
    std::vector<std::string> row = {name, with, unit};
    for (const ThreadLimits* threads : columns) {
      row.push_back(giga((threads->*rate).per_second));
      row.push_back(giga((threads->*rate).per_core_second));
    }
    table.add_row(row);
  };
  add("memory read", limits.read_with, "GB/s", &ThreadLimits::dram_read);
  add("fp32", limits.fp32_with, "GFLOP/s", &ThreadLimits::fp32);
  add("int8", limits.int8_with, "GOP/s", &ThreadLimits::int8);
  if (!limits.bf16_with.empty()) add("bf16", limits.bf16_with, "GFLOP/s", &ThreadLimits::bf16);
  return table;
}

Table layer_table(const std::vector<LayerSpeed>& layers, int num_experts) {
  Table table({"experts", "held", "rows", "ms", "us/row", "read", "GB/s", "GOP/s", "GOP/core-s",
               "limit", "share", "of core-s"});
  for (const LayerSpeed& layer : layers)
    table.add_row({describe_experts(layer.latent, num_experts), name_of(layer.held),
                   std::to_string(layer.rows), fmt::format("{:.3f}", layer.run.wall * 1e3),
                   fmt::format("{:.1f}", layer.run.wall * 1e6 / layer.rows),
                   format_bytes(layer.bytes), giga(layer.bytes_per_second()),
                   giga(layer.operations_per_second()), giga(layer.operations_per_core_second()),
                   layer.share.limit, percent(layer.share.of_second),
                   percent(layer.share.of_core_second)});
  return table;
}

Table gain_table(const std::vector<LayerSpeed>& layers, int num_experts) {
  Table table({"experts", "held", "rows", "speed vs dense", "per core-s", "bytes ratio",
               "MAC ratio", "realised", "of"});
  for (const LayerSpeed& layer : layers)
    if (const auto& gain = layer.gain)
      table.add_row({describe_experts(layer.latent, num_experts), name_of(layer.held),
                     std::to_string(layer.rows), times(gain->speed), times(gain->speed_per_core),
                     fmt::format("{:.3f}", gain->bytes), fmt::format("{:.3f}", gain->macs),
                     times(gain->realised), gain->by_bytes ? "bytes" : "MACs"});
  return table;
}

Table model_table(const std::vector<ModelSpeed>& models) {
  std::vector<std::string> header = {"model", "held",  "phase", "tokens/s", "per core-s",
                                     "GB/s",  "GOP/s", "limit", "share",    "of core-s"};
  if (models.size() > 1) header.emplace_back("speed vs first");
  const bool caches = std::any_of(models.begin(), models.end(), [](const ModelSpeed& model) {
    return model.decode.experts.has_value();
  });
  if (caches) header.emplace_back("experts found");
  Table table(header);
  for (const ModelSpeed& model : models)
    for (const auto& [name, phase] :
         {std::pair{"prefill", &model.prefill}, std::pair{"decode", &model.decode}}) {
      const double operations = phase->work.operations + phase->work.float_operations;
      std::vector<std::string> row = {model.name,
                                      name_of(model.held),
                                      name,
                                      fmt::format("{:.1f}", phase->tokens_per_second()),
                                      fmt::format("{:.1f}", phase->tokens_per_core_second()),
                                      giga(phase->work.bytes / phase->round.wall),
                                      giga(operations / phase->round.wall),
                                      phase->share.limit,
                                      percent(phase->share.of_second),
                                      percent(phase->share.of_core_second)};
      if (models.size() > 1) row.push_back(times(phase->speed));
      if (caches)
        row.push_back(phase->experts ? fmt::format("{:.1f} %", 100 * phase->experts->hit_rate())
                                     : "-");
      table.add_row(row);
    }
  return table;
}

Table load_table(const std::vector<ModelSpeed>& models) {
  Table table({"model", "held", "stored", "packed", "load, s", "s/GB", "peak memory", "of packed"});
  for (const ModelSpeed& model : models)
    if (const auto& load = model.load) {
      const auto stored = static_cast<double>(load->stored_bytes);
      const auto packed = static_cast<double>(load->packed_bytes);
      const auto peak = static_cast<double>(load->peak_anonymous_bytes);
      table.add_row({model.name, name_of(model.held), format_bytes(stored), format_bytes(packed),
                     fmt::format("{:.2f}", load->seconds),
                     fmt::format("{:.2f}", load->seconds / stored * 1e9),
                     peak > 0 ? format_bytes(peak) : "-", peak > 0 ? times(peak / packed) : "-"});
    }
  return table;
}

std::string load_note(const std::optional<MachineLoad>& load) {
  constexpr double kQuiet = 0.1;
  if (!load || load->other_cores + load->stolen_cores < kQuiet) return {};
  return fmt::format(
      "Other processes took {:.2f} cores of this machine meanwhile{}: times by the clock are long, "
      "shares rough.\n",
      load->other_cores,
      load->stolen_cores >= kQuiet ? fmt::format(", and its host {:.2f}", load->stolen_cores) : "");
}

std::string to_text(const BenchReport& report) {
  std::vector<std::string> parts = {
      fmt::format("{}: {}; {} threads; kernels: {}\n", cpu_features().model,
                  fmt::join(cpu_feature_names(), " "), report.limits.all.threads,
                  kernel::implementations_in_use()),
      limits_table(report).text()};
  if (!report.layers.empty())
    parts.push_back(layer_table(report.layers, report.num_experts).text());
  if (const Table gains = gain_table(report.layers, report.num_experts); !gains.rows().empty())
    parts.push_back(gains.text());
  if (!report.models.empty()) parts.push_back(model_table(report.models).text());
  if (const Table loads = load_table(report.models); !loads.rows().empty())
    parts.push_back(loads.text());
  if (std::string note = load_note(report.load); !note.empty()) parts.push_back(std::move(note));
  return fmt::format("{}", fmt::join(parts, "\n"));
}

}  // namespace talpa
