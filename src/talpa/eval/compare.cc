#include "talpa/eval/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "talpa/base/error.h"
#include "talpa/base/file.h"

namespace talpa {

namespace {

namespace fs = std::filesystem;

std::string architecture_of(const DecoderConfig& config) {
  if (!config.has_moe()) return "dense";
  return config.moe.latent.enabled() ? "latent experts" : "experts";
}

/// Shortest names that tell the models apart: the last part of the path, with parents where two
/// are alike, and the type where one was asked for.
std::vector<std::string> names_of(const std::vector<CompareSpec>& specs) {
  std::vector<fs::path> paths;
  for (const CompareSpec& spec : specs) {
    fs::path path = fs::absolute(spec.path).lexically_normal();
    paths.push_back(path.has_filename() ? path : path.parent_path());
  }
  std::map<std::string, std::set<fs::path>> owners;
  for (const fs::path& path : paths) owners[path.filename().string()].insert(path);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    std::string name = paths[i].filename().string();
    if (owners[name].size() > 1) name = (paths[i].parent_path().filename() / name).string();
    if (specs[i].dtype) name += fmt::format(" {}", name_of(*specs[i].dtype));
    names.push_back(std::move(name));
  }
  return names;
}

void check_same_tokenizer(const LoadedModel& base, const LoadedModel& other) {
  const std::string base_path = base.files.path.string(), path = other.files.path.string();
  if (base.files.config.vocab_size != other.files.config.vocab_size)
    fail(ErrorCode::kShape,
         "{} has {} tokens and {} has {}: predictions over different vocabularies cannot be "
         "compared",
         base_path, base.files.config.vocab_size, path, other.files.config.vocab_size);
  if (!base.tokenizer || !other.tokenizer) return;
  const int known = std::min(base.tokenizer->vocab_size(), other.tokenizer->vocab_size());
  for (TokenId id = 0; id < known; ++id)
    if (base.tokenizer->token(id) != other.tokenizer->token(id))
      fail(ErrorCode::kConfig,
           "token {} is '{}' in {} and '{}' in {}: models with different tokenizers cannot be "
           "compared",
           id, base.tokenizer->token(id), base_path, other.tokenizer->token(id), path);
}

/// Routed experts as they have to be stored.
std::uint64_t stored_expert_bytes(const CompareRow& row, const LoadedModel& loaded) {
  if (row.expert_bytes == 0) return 0;
  if (row.spec.dtype) return row.expert_bytes;
  if (row.conversion && row.conversion->expert_bytes > 0) return row.conversion->expert_bytes;
  std::uint64_t bytes = 0;
  for (const auto& [name, weight] : loaded.files.weights)
    if (name.find(".moe.") != std::string::npos && !name.ends_with(".router"))
      bytes += weight.bytes();
  return bytes;
}

}  // namespace

std::optional<ConversionNote> conversion_note(const fs::path& model) {
  const fs::path file =
      fs::is_directory(model) ? model / "conversion.json" : fs::path(model.string() + ".json");
  if (!fs::exists(file)) return std::nullopt;
  const Json json = Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  const auto method = json.find("method"), seconds = json.find("seconds"),
             bytes = json.find("expert_bytes");
  if (method == json.end() || !method->is_string()) return std::nullopt;
  ConversionNote note{.method = method->get<std::string>()};
  if (seconds != json.end() && seconds->is_number()) note.seconds = seconds->get<double>();
  if (bytes != json.end() && bytes->is_number_unsigned())
    note.expert_bytes = bytes->get<std::uint64_t>();
  return note;
}

void rank_at_equal_bytes(std::vector<CompareRow>& rows) {
  const bool experts = std::all_of(
      rows.begin(), rows.end(), [](const CompareRow& row) { return row.stored_expert_bytes > 0; });
  auto bytes = [experts](const CompareRow& row) {
    return static_cast<double>(experts ? row.stored_expert_bytes : row.held_bytes);
  };
  for (CompareRow& row : rows)
    row.rank =
        1 + static_cast<int>(std::count_if(rows.begin(), rows.end(), [&](const CompareRow& other) {
          const double kl = row.scores.divergence.kl_mean;
          const double others = other.scores.divergence.kl_mean;
          return bytes(other) <= 1.01 * bytes(row) &&
                 (others < kl || (std::isnan(kl) && !std::isnan(others)));
        }));
}

CompareSpec parse_compare_spec(const std::string& text) {
  const std::size_t at = text.rfind('@');
  if (at == std::string::npos || fs::exists(text)) return {.path = text};
  const std::string name = text.substr(at + 1);
  const auto dtype = dtype_named(name);
  if (!dtype) fail(ErrorCode::kUsage, "{}: there is no type '{}'", text, name);
  return {.path = text.substr(0, at), .dtype = dtype};
}

std::vector<LoadedModel> load_models(const std::vector<CompareSpec>& specs, int threads, bool pin) {
  std::vector<LoadedModel> loaded;
  for (const CompareSpec& spec : specs) {
    loaded.push_back(
        load_model(spec.path, {.weights = spec.dtype, .threads = threads, .pin = pin}));
    check_same_tokenizer(loaded.front(), loaded.back());
  }
  return loaded;
}

Comparison compare_models(const std::vector<CompareSpec>& specs,
                          const std::vector<LoadedModel>& loaded, const ScoringText& text,
                          const CompareOptions& options) {
  TALPA_CHECK(specs.size() == loaded.size() && !specs.empty());
  std::vector<Model*> models;
  for (const LoadedModel& model : loaded) models.push_back(model.model.get());
  const std::vector<ModelScores> scores = score_against_base(models, text, options.score);
  std::vector<Speed> speeds;
  if (options.measure_speed) {
    std::vector<TokenId> tokens;
    for (const Window& window : text.windows) {
      tokens.insert(tokens.end(), window.tokens.begin(), window.tokens.end());
      if (tokens.size() > 4096) break;
    }
    speeds = measure_speed(models, tokens, options.speed);
  }
  Comparison comparison{
      .rows = {}, .windows = text.windows.size(), .threads = models[0]->threads().size()};
  const std::vector<std::string> names = names_of(specs);
  for (std::size_t i = 0; i < specs.size(); ++i)
    comparison.rows.push_back({.name = names[i],
                               .spec = specs[i],
                               .architecture = architecture_of(loaded[i].files.config),
                               .account = account_of(loaded[i].files.config),
                               .file_bytes = loaded[i].files.store->total_bytes(),
                               .held_bytes = models[i]->weight_bytes(),
                               .expert_bytes = models[i]->expert_bytes(),
                               .active_bytes = models[i]->active_bytes(),
                               .scores = scores[i],
                               .speed = speeds.empty() ? std::nullopt : std::optional(speeds[i]),
                               .conversion = conversion_note(specs[i].path)});
  for (std::size_t i = 0; i < specs.size(); ++i)
    comparison.rows[i].stored_expert_bytes = stored_expert_bytes(comparison.rows[i], loaded[i]);
  rank_at_equal_bytes(comparison.rows);
  return comparison;
}

}  // namespace talpa
