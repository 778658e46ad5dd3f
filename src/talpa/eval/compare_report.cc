#include "talpa/eval/compare_report.h"

#include <algorithm>
#include <cmath>

#include "talpa/base/progress.h"
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
               {"stored_expert_bytes", row.stored_expert_bytes},
               {"rank_at_equal_bytes", row.rank},
               {"active_bytes_per_token", row.active_bytes}};
  const auto bits = loss.bits_per_byte();
  json["bits_per_byte"] = bits ? Json(*bits) : Json();
  json["domains"] = Json::object();
  for (const TextLoss& domain : row.scores.domains)
    json["domains"][domain.domain] = {
        {"perplexity", number_or_null(domain.perplexity())},
        {"perplexity_error", number_or_null(domain.perplexity_error())},
        {"tokens", domain.tokens}};
  if (row.conversion)
    json["conversion"] = {{"method", row.conversion->method}, {"seconds", row.conversion->seconds}};
  if (row.speed)
    json["speed"] = {{"prefill_tokens_per_core_second", row.speed->prefill_per_core_second},
                     {"decode_tokens_per_core_second", row.speed->decode_per_core_second},
                     {"prefill_tokens_per_second", row.speed->prefill_per_second},
                     {"decode_tokens_per_second", row.speed->decode_per_second}};
  return json;
}

std::string bytes_or_dash(std::uint64_t bytes) {
  return bytes > 0 ? format_bytes(static_cast<double>(bytes)) : "-";
}

using BytesOf = std::uint64_t CompareRow::*;

/// The models that nothing as small beats, by size.
PlotSeries front_of(const Comparison& comparison, BytesOf bytes) {
  PlotSeries front{
      .name = "nothing as small is better", .points = {}, .connected = true, .markers = false};
  std::vector<const CompareRow*> rows;
  for (const CompareRow& row : comparison.rows) rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), [&](const CompareRow* a, const CompareRow* b) {
    return std::pair(a->*bytes, a->scores.divergence.ln_ratio) <
           std::pair(b->*bytes, b->scores.divergence.ln_ratio);
  });
  for (const CompareRow* row : rows) {
    const double y = row->scores.divergence.ln_ratio;
    if (std::isfinite(y) && (front.points.empty() || y < front.points.back().y))
      front.points.push_back({.x = static_cast<double>(row->*bytes), .y = y});
  }
  return front;
}

/// Loss increase over the first model against bytes: the first model in its types, other models
/// with latent experts, the rest, and the Pareto front.
std::string quality_plot(const Comparison& comparison, BytesOf bytes, const std::string& title,
                         const std::string& x_label) {
  std::vector<PlotSeries> series = {
      {.name = "first model, by type"}, {.name = "latent experts"}, {.name = "other models"}};
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
  series.push_back(front_of(comparison, bytes));
  return plot_svg(series, {.title = title,
                           .x_label = x_label,
                           .y_label = "loss increase (nats a token)",
                           .x_format = AxisFormat::kBytes,
                           .y_from_zero = true});
}

}  // namespace

Table quality_table(const Comparison& comparison) {
  Table table(
      {"model", "perplexity", "ln ratio", "KL mean", "KL 99 %", "same top-1", "RMS Δp", "rank"});
  for (const CompareRow& row : comparison.rows) {
    const Divergence& d = row.scores.divergence;
    const TextLoss& loss = row.scores.loss;
    const bool base = &row == &comparison.rows.front();
    table.add_row({row.name, with_error(loss.perplexity(), loss.perplexity_error(), 3),
                   base ? "-" : with_error(d.ln_ratio, d.ln_ratio_error, 4),
                   base ? "-" : fmt::format("{:.5f}", d.kl_mean),
                   base ? "-" : fmt::format("{:.4f}", d.kl_p99),
                   base ? "-" : fmt::format("{:.2f} %", 100 * d.same_top1),
                   base ? "-" : fmt::format("{:.2f} %", 100 * d.delta_p_rms),
                   std::to_string(row.rank)});
  }
  return table;
}

Table domain_table(const Comparison& comparison) {
  std::vector<std::string> header = {"model"};
  for (const TextLoss& domain : comparison.rows[0].scores.domains) header.push_back(domain.domain);
  Table table(header);
  for (const CompareRow& row : comparison.rows) {
    std::vector<std::string> cells = {row.name};
    for (const TextLoss& domain : row.scores.domains)
      cells.push_back(with_error(domain.perplexity(), domain.perplexity_error(), 2));
    table.add_row(std::move(cells));
  }
  return table;
}

Table cost_table(const Comparison& comparison) {
  Table table({"model", "params", "active", "file", "held", "experts", "stored", "read/token",
               "MACs/token", "prefill", "decode", "made in"});
  for (const CompareRow& row : comparison.rows) {
    const auto& speed = row.speed;
    table.add_row({row.name, format_count(static_cast<double>(row.account.total_params)),
                   format_count(static_cast<double>(row.account.active_params)),
                   format_bytes(static_cast<double>(row.file_bytes)),
                   format_bytes(static_cast<double>(row.held_bytes)),
                   bytes_or_dash(row.expert_bytes), bytes_or_dash(row.stored_expert_bytes),
                   format_bytes(static_cast<double>(row.active_bytes)),
                   format_count(row.account.macs_per_token),
                   speed ? format_count(speed->prefill_per_core_second) : "-",
                   speed ? format_count(speed->decode_per_core_second) : "-",
                   row.conversion ? format_duration(row.conversion->seconds) : "-"});
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
      "Vertical lines are one paired standard error; the line joins the models that nothing as "
      "small beats.";
  if (experts)
    html.add_figure(quality_plot(comparison, &CompareRow::stored_expert_bytes,
                                 "Quality against the bytes of the routed experts",
                                 "routed-expert weights as stored"),
                    kCaption);
  html.add_figure(
      quality_plot(comparison, &CompareRow::held_bytes,
                   "Quality against the bytes of the whole model", "all weights as held in memory"),
      kCaption);
  html.add_heading("Quality");
  html.add_markup(quality_table(comparison).html());
  html.add_text(
      "ln ratio: mean loss minus that of the first model, with its paired standard error. KL: "
      "divergence of the first model's predictions from the model's, nats a token. Δp: change of "
      "the correct token's probability. rank: 1 + the models of at most the same bytes that "
      "diverge "
      "less.");
  if (!comparison.rows[0].scores.domains.empty()) {
    html.add_heading("Perplexity by domain");
    html.add_markup(domain_table(comparison).html());
  }
  html.add_heading("Size and speed");
  html.add_markup(cost_table(comparison).html());
  html.add_text(
      "held: weights as held in memory; experts: routed experts of these; stored: routed experts "
      "as "
      "they have to be stored; made in: time of the conversion; read/token: weights that "
      "decoding one token reads on average. prefill and decode: tokens a core-second, medians of "
      "runs taken in turn.");
  html.add_heading("How this was made");
  std::vector<std::pair<std::string, std::string>> facts = {{"command", page.command}};
  facts.insert(facts.end(), page.facts.begin(), page.facts.end());
  html.add_facts(facts);
  return html.html();
}

}  // namespace talpa
