#include "talpa/model/inspect.h"

#include <fmt/ranges.h>

#include "talpa/cli/model_options.h"
#include "talpa/cli/runtime/commands.h"
#include "talpa/kernel/packed_matrix.h"
#include "talpa/report/table.h"

namespace talpa::cli {

namespace {

struct InspectOptions : CommonOptions, ModelOptions {
  std::string published;
};

double number(const Json& json) { return json.get<double>(); }

std::string fact(std::string_view name, const std::string& value) {
  return fmt::format("{:<22} {}\n", name, value);
}

std::string counted(const Json& report, const char* key) {
  return format_count(number(report.at(key)));
}

std::string attention_text(const Json& attention) {
  std::string text =
      fmt::format("{} heads of {}, {} for keys and values", attention.at("num_heads").get<int>(),
                  attention.at("head_dim").get<int>(), attention.at("num_kv_heads").get<int>());
  if (attention.at("qk_norm") != "none")
    text += fmt::format(", QK norm {}", attention.at("qk_norm").get<std::string>());
  if (attention.at("qkv_bias").get<bool>()) text += ", biases";
  return text;
}

std::string experts_text(const Json& experts) {
  std::string text =
      fmt::format("{} of width {}, top {}, in {} layers", experts.at("num_experts").get<int>(),
                  experts.at("hidden_dim").get<int>(), experts.at("top_k").get<int>(),
                  experts.at("num_moe_layers").get<int>());
  if (const int shared = experts.at("shared_hidden_dim").get<int>(); shared > 0)
    text += fmt::format(", shared expert of {}", shared);
  return text;
}

/// ", mixed bases of rank 226, silu" or less.
std::string bases_text(const Json& latent) {
  if (!latent.at("mixed").get<bool>()) return {};
  std::string text = ", mixed bases";
  if (const int rank = latent.at("basis_rank").get<int>(); rank > 0)
    text += fmt::format(" of rank {}", rank);
  if (const auto ranks = latent.at("basis_ranks").get<std::vector<int>>(); !ranks.empty())
    text = fmt::format(", mixed bases of ranks {}", fmt::join(ranks, " "));
  if (const auto ranks = latent.at("down_basis_ranks").get<std::vector<int>>(); !ranks.empty())
    text += fmt::format(" (down {})", fmt::join(ranks, " "));
  else if (const int down = latent.at("down_basis_rank").get<int>(); down > 0)
    text += fmt::format(" (down {})", down);
  const auto activation = latent.at("basis_activation").get<std::string>();
  return activation == "none" ? text : text + ", " + activation;
}

std::string latent_text(const Json& latent, int num_experts) {
  const int group = latent.at("group_size").get<int>();
  std::vector<std::string> factored;
  for (const char* name : {"gate", "up", "down"})
    if (latent.at(std::string("factor_") + name).get<bool>()) factored.emplace_back(name);
  std::string width = fmt::format("width {}", latent.at("latent_dim").get<int>());
  if (const auto widths = latent.at("latent_dims").get<std::vector<int>>(); !widths.empty())
    width = fmt::format("widths {}", fmt::join(widths, " "));
  if (const auto widths = latent.at("down_latent_dims").get<std::vector<int>>(); !widths.empty())
    width += fmt::format(" (down {})", fmt::join(widths, " "));
  else if (const int down = latent.at("down_latent_dim").get<int>(); down > 0)
    width += fmt::format(" (down {})", down);
  return fmt::format("{}, groups of {}, {} factored{}{}", width, group > 0 ? group : num_experts,
                     fmt::join(factored, " "),
                     latent.at("share_gate_up_latent").get<bool>() ? ", gate and up share" : "",
                     bases_text(latent));
}

std::string stored_text(const Json& report) {
  std::vector<std::string> types;
  for (const auto& [type, bytes] : report.at("stored_types").items())
    types.push_back(fmt::format("{} {}", format_bytes(number(bytes)), type));
  return fmt::format("{} ({})", format_bytes(number(report.at("stored_bytes"))),
                     fmt::join(types, ", "));
}

/// Matrices of each stored type, as the engine holds them when nothing is asked for.
Json held_types(const Json& stored_types) {
  Json held = Json::object();
  for (const auto& [name, bytes] : stored_types.items())
    if (const auto stored = dtype_named(name); is_float(*stored) || is_quantised(*stored))
      held[name] = name_of(held_type(*stored));
  return held;
}

/// "q4_k as q4_1, q6_k as q8_0", or empty where all are held as stored.
std::string held_text(const Json& held) {
  std::vector<std::string> changed;
  for (const auto& [stored, type] : held.items())
    if (type != stored) changed.push_back(fmt::format("{} as {}", stored, type.get<std::string>()));
  return fmt::format("{}", fmt::join(changed, ", "));
}

std::string summary(const Json& report) {
  std::string out;
  if (report.contains("path"))
    out += fact("model", fmt::format("{} ({})", report.at("path").get<std::string>(),
                                     report.at("format").get<std::string>()));
  out += fact("family", report.at("family").get<std::string>());
  out += fact("shape", fmt::format("{} layers, width {}, vocabulary {}{}",
                                   report.at("num_layers").get<int>(), report.at("dim").get<int>(),
                                   report.at("vocab_size").get<int>(),
                                   report.at("tie_embeddings").get<bool>() ? " (tied)" : ""));
  out += fact("attention", attention_text(report.at("attention")));
  const Json& experts = report.at("experts");
  if (experts.is_null())
    out += fact("feed-forward", std::to_string(report.at("ffn_dim").get<int>()));
  else
    out += fact("experts", experts_text(experts));
  if (!experts.is_null() && !experts.at("latent").is_null())
    out += fact("latent", latent_text(experts.at("latent"), experts.at("num_experts").get<int>()));
  const bool has_experts = !experts.is_null();
  auto in_experts = [&](const char* key) {
    return has_experts ? fmt::format(", {} in routed experts", counted(report, key)) : "";
  };
  out += fact("parameters",
              fmt::format("{}, {} active a token{}", counted(report, "total_params"),
                          counted(report, "active_params"), in_experts("expert_params")));
  if (report.contains("stored_bytes")) out += fact("bytes", stored_text(report));
  if (report.contains("held_types"))
    if (const std::string held = held_text(report.at("held_types")); !held.empty())
      out += fact("held in memory", held);
  out += fact("multiply-adds a token",
              counted(report, "macs_per_token") + in_experts("expert_macs_per_token"));
  return out + fact("KV cache a token",
                    format_bytes(number(report.at("kv_bytes_per_token"))) + " in bf16");
}

std::string percent(const Json& ratio) {
  return ratio.is_null() ? "-" : fmt::format("{:.1f} %", 100 * number(ratio));
}

std::string rank_text(const Json& setting) {
  const int rank = setting.at("basis_rank").get<int>();
  return rank > 0 ? std::to_string(rank) : "-";
}

std::string latent_settings(const Json& rows) {
  Table table({"latent experts", "k", "r", "k_b", "experts", "model", "read, batch 1", "read, 32",
               "MACs", ""});
  std::string refusals;
  int number_of_refusals = 0;
  for (const Json& setting : rows) {
    std::string mark;
    if (!setting.at("refusal").is_null()) {
      mark = fmt::format("refused [{}]", ++number_of_refusals);
      refusals +=
          fmt::format("  [{}] {}\n", number_of_refusals, setting.at("refusal").get<std::string>());
    }
    table.add_row({setting.at("kind").get<std::string>(),
                   std::to_string(setting.at("group_size").get<int>()),
                   std::to_string(setting.at("latent_dim").get<int>()), rank_text(setting),
                   percent(setting.at("storage")), percent(setting.at("model")),
                   percent(setting.at("read_1")), percent(setting.at("read_32")),
                   percent(setting.at("macs")), mark});
  }
  return "\nWhat latent experts would make of it (k experts share a latent of width r, or a basis "
         "of\n"
         "rank k_b; relative to dense experts: stored bytes, bytes read a step, multiply-adds a\n"
         "token; experts on mixed bases formed anew for every step)\n\n" +
         table.text() + (refusals.empty() ? "" : "\n" + refusals);
}

Json published_report(const std::string& name) {
  std::vector<std::string> names;
  for (const PublishedModel& model : published_models()) {
    if (model.name == name) {
      Json report = inspect_report(model.config);
      report["path"] = name;
      report["format"] = "published description";
      report["published_total_params"] = model.total_params;
      return report;
    }
    names.push_back(model.name);
  }
  fail(ErrorCode::kUsage, "--published {}: known are {}", name, fmt::join(names, ", "));
}

void run(const InspectOptions& options) {
  if (options.model.empty() == options.published.empty())
    fail(ErrorCode::kUsage, "expected a MODEL or --published NAME");
  Json report = options.published.empty() ? inspect_report(open_model(options.model))
                                          : published_report(options.published);
  if (report.contains("stored_types")) report["held_types"] = held_types(report.at("stored_types"));
  if (options.json) return print_json(report);
  print_data(summary(report));
  if (report.contains("latent_settings")) print_data(latent_settings(report.at("latent_settings")));
}

}  // namespace

void setup_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  app.add_option("MODEL", options->model, "Hugging Face directory or GGUF file")
      ->type_name("MODEL");
  app.add_option("--published", options->published,
                 "A published model's description instead, e.g. qwen3-30b-a3b")
      ->type_name("NAME");
  add_json_option(app, *options);
  add_log_options(app, *options);
  on_run(app, options, run);
}

}  // namespace talpa::cli
