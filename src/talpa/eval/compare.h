#pragma once

#include <optional>
#include <string>
#include <vector>

#include "talpa/eval/divergence.h"
#include "talpa/eval/speed.h"
#include "talpa/model/accounting.h"

namespace talpa {

/// A model to compare, and the type to hold it in (nullopt = as stored).
struct CompareSpec {
  std::filesystem::path path;
  std::optional<DType> dtype;
};
/// "PATH" or "PATH@q8_0". A path that exists is taken whole, '@' or not. Throws kUsage for a type
/// that does not exist.
CompareSpec parse_compare_spec(const std::string& text);

/// What the conversion that made a model said of itself.
struct ConversionNote {
  std::string method;
  double seconds = 0;
  std::uint64_t expert_bytes = 0;
};
/// Of DIR/conversion.json or FILE.json; nullopt if there is none.
std::optional<ConversionNote> conversion_note(const std::filesystem::path& model);

/// One model of a comparison.
struct CompareRow {
  std::string name;
  CompareSpec spec;
  std::string architecture;  ///< "dense", "experts" or "latent experts"
  Account account;
  std::uint64_t file_bytes = 0;    ///< all tensors as stored
  std::uint64_t held_bytes = 0;    ///< all weights as held
  std::uint64_t expert_bytes = 0;  ///< routed experts as held
  /// Routed experts as they have to be stored: in the file, or held where a type was asked for;
  /// of a conversion that its file repeats or multiplies out, as the method has it.
  std::uint64_t stored_expert_bytes = 0;
  std::uint64_t active_bytes = 0;  ///< weights that decoding one token reads on average, as held
  ModelScores scores;
  std::optional<Speed> speed;
  std::optional<ConversionNote> conversion;
  /// 1 + the models that take no more than 1 % more bytes of experts (of all weights where a model
  /// has none) and diverge less from the first: 1 = on the Pareto front.
  int rank = 1;
};

/// Fills in the ranks.
void rank_at_equal_bytes(std::vector<CompareRow>& rows);

struct Comparison {
  std::vector<CompareRow> rows;  ///< the first is what the others are compared to
  std::size_t windows = 0;
  int threads = 0;
};

struct CompareOptions {
  ScoreOptions score;
  SpeedOptions speed;
  bool measure_speed = true;
};

/// Models loaded for a comparison; throws kShape when their vocabularies differ in size, and
/// kConfig when their tokenizers differ.
std::vector<LoadedModel> load_models(const std::vector<CompareSpec>& specs, int threads,
                                     bool pin = false);

/// Measures `loaded` (of `specs`, same order) on `text`.
Comparison compare_models(const std::vector<CompareSpec>& specs,
                          const std::vector<LoadedModel>& loaded, const ScoringText& text,
                          const CompareOptions& options);

}  // namespace talpa
