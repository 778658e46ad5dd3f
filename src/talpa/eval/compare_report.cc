#include "talpa/eval/compare_report.h"

#include <algorithm>
#include <cmath>

#include "talpa/report/html.h"
#include "talpa/report/plot.h"

namespace talpa {

namespace {

std::string with_error(double value, double error, int digits) {
  if (!std::isfinite(error)) return fmt::format("{:.{}f}", value, digits);
  return fmt::format("{:.{}f} ± {:.{}f}", value, digits, error, digits);
}

Json to_json(const Divergence& d) {
  return {{"ln_ratio", number_or_null(d.ln_ratio)},
          {"ln_ratio_error", number_or_null(d.ln_ratio_error)},
          {"kl_mean", number_or_null(d.kl_mean)},
          {"kl_error", number_or_null(d.kl_error)},
          {"kl_p99", number_or_null(d.kl_p99)},
          {"same_top1", d.same_top1},
          {"delta_p_mean", d.delta_p_mean},
          {"delta_p_rms", d.delta_p_rms}};
}

Json to_json(const CompareRow& row) {
  const TextLoss& loss = row.scores.loss;
  Json json = {{"name", row.name},
               {"model", row.spec.path.string()},
               {"dtype", row.spec.dtype ? name_of(*row.spec.dtype) : "stored"},
               {"architecture", row.architecture},
               {"perplexity", number_or_null(loss.perplexity())},
               {"perplexity_error", number_or_null(loss.perplexity_error())},
               {"nll", number_or_null(loss.mean_nll)},
               {"nll_error", number_or_null(loss.nll_error)},
               {"tokens", loss.tokens},
               {"against_first", to_json(row.scores.divergence)},
               {"total_params", row.account.total_params},
               {"active_params", row.account.active_params},
               {"expert_params", row.account.expert_params},
               {"macs_per_token", row.account.macs_per_token},
               {"file_bytes", row.file_bytes},
               {"held_bytes", row.held_bytes},
               {"expert_bytes", row.expert_bytes},
               {"active_bytes_per_token", row.active_bytes}};
  const auto bits = loss.bits_per_byte();
  json["bits_per_byte"] = bits ? Json(*bits) : Json();
  if (row.speed)
    json["speed"] = {{"prefill_tokens_per_core_second", row.speed->prefill_per_core_second},
                     {"decode_tokens_per_core_second", row.speed->decode_per_core_second},
                     {"prefill_tokens_per_second", row.speed->prefill_per_second},
                     {"decode_tokens_per_second", row.speed->decode_per_second}};
  return json;
}

using BytesOf = std::uint64_t CompareRow::*;

/// Loss increase over the first model against bytes: the first model in its types, other models
/// with latent experts, and the rest.
std::string quality_plot(const Comparison& comparison, BytesOf bytes, const std::string& title,
                         const std::string& x_label) {
  std::vector<PlotSeries> series = {{.name = "first model, by type", .connected = true},
                                    {.name = "latent experts"},
                                    {.name = "other models"}};
  for (const CompareRow& row : comparison.rows) {
    const std::size_t which = row.spec.path == comparison.rows[0].spec.path ? 0
                              : row.architecture == "latent experts"        ? 1
                                                                            : 2;
    series[which].points.push_back({.x = static_cast<double>(row.*bytes),
                                    .y = row.scores.divergence.ln_ratio,
                                    .error = row.scores.divergence.ln_ratio_error,
                                    .label = row.name});
  }
  std::sort(series[0].points.begin(), series[0].points.end(),
            [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  std::erase_if(series, [](const PlotSeries& s) { return s.points.empty(); });
  return plot_svg(series, {.title = title,
                           .x_label = x_label,
                           .y_label = "loss increase (nats a token)",
                           .x_format = AxisFormat::kBytes,
                           .y_from_zero = true});
}

}  // namespace

Table quality_table(const Comparison& comparison) {
  Table table({"model", "perplexity", "ln ratio", "KL mean", "KL 99 %", "same top-1", "RMS Δp"});
  for (const CompareRow& row : comparison.rows) {
    const Divergence& d = row.scores.divergence;
    const TextLoss& loss = row.scores.loss;
    const bool base = &row == &comparison.rows.front();
    table.add_row({row.name, with_error(loss.perplexity(), loss.perplexity_error(), 3),
                   base ? "-" : with_error(d.ln_ratio, d.ln_ratio_error, 4),
                   base ? "-" : fmt::format("{:.5f}", d.kl_mean),
                   base ? "-" : fmt::format("{:.4f}", d.kl_p99),
                   base ? "-" : fmt::format("{:.2f} %", 100 * d.same_top1),
                   base ? "-" : fmt::format("{:.2f} %", 100 * d.delta_p_rms)});
  }
  return table;
}

Table cost_table(const Comparison& comparison) {
  Table table({"model", "params", "active", "file", "held", "experts", "read/token", "MACs/token",
               "prefill", "decode"});
  for (const CompareRow& row : comparison.rows) {
    const auto& speed = row.speed;
    table.add_row({row.name, format_count(static_cast<double>(row.account.total_params)),
                   format_count(static_cast<double>(row.account.active_params)),
                   format_bytes(static_cast<double>(row.file_bytes)),
                   format_bytes(static_cast<double>(row.held_bytes)),
                   row.expert_bytes > 0 ? format_bytes(static_cast<double>(row.expert_bytes)) : "-",
                   format_bytes(static_cast<double>(row.active_bytes)),
                   format_count(row.account.macs_per_token),
                   speed ? format_count(speed->prefill_per_core_second) : "-",
                   speed ? format_count(speed->decode_per_core_second) : "-"});
  }
  return table;
}

Json to_json(const Comparison& comparison) {
  Json rows = Json::array();
  for (const CompareRow& row : comparison.rows) rows.push_back(to_json(row));
  return {{"rows", rows}, {"windows", comparison.windows}, {"threads", comparison.threads}};
}

std::string compare_html(const Comparison& comparison, const ComparePage& page) {
  HtmlPage html(page.title);
  const bool experts = std::any_of(comparison.rows.begin(), comparison.rows.end(),
                                   [](const CompareRow& row) { return row.expert_bytes > 0; });
  html.add_text(fmt::format(
      "Every model is compared with {} on the same {} tokens. Lower is better, further left is "
      "smaller.",
      comparison.rows[0].name, comparison.rows[0].scores.loss.tokens));
  constexpr const char* kCaption =
      "Vertical lines are one paired standard error. Bytes are those of the weights as held in "
      "memory.";
  if (experts)
    html.add_figure(
        quality_plot(comparison, &CompareRow::expert_bytes,
                     "Quality against the bytes of the routed experts", "routed-expert weights"),
        kCaption);
  html.add_figure(quality_plot(comparison, &CompareRow::held_bytes,
                               "Quality against the bytes of the whole model", "all weights"),
                  kCaption);
  html.add_heading("Quality");
  html.add_markup(quality_table(comparison).html());
  html.add_text(
      "ln ratio: mean loss minus that of the first model, with its paired standard error. KL: "
      "divergence of the first model's predictions from the model's, nats a token. Δp: change of "
      "the correct token's probability.");
  html.add_heading("Size and speed");
  html.add_markup(cost_table(comparison).html());
  html.add_text(
      "held: weights as held in memory; experts: routed experts of these; read/token: weights that "
      "decoding one token reads on average. prefill and decode: tokens a core-second, medians of "
      "runs taken in turn.");
  html.add_heading("How this was made");
  std::vector<std::pair<std::string, std::string>> facts = {{"command", page.command}};
  facts.insert(facts.end(), page.facts.begin(), page.facts.end());
  html.add_facts(facts);
  return html.html();
}

}  // namespace talpa
