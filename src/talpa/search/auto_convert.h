#pragma once

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "talpa/convert/convert.h"
#include "talpa/eval/divergence.h"

namespace talpa::search {

/// A conversion that was tried.
struct Trial {
  std::string name;
  std::int64_t expert_bytes = 0;
  double weight_error = 0;  ///< relative
  Divergence divergence;    ///< from the original on the held-out text
  double seconds = 0;       ///< of the conversion
};

/// A conversion that was stopped: its first layers lost far more than the least found so far.
struct GivenUp {
  std::string name;
  int layers = 0;          ///< finished by then
  double error_ratio = 0;  ///< of their error to the least, as fits report it
  double seconds = 0;
};

struct SearchReport {
  std::vector<Trial> trials;  ///< by divergence, the chosen first
  std::vector<GivenUp> given_up;
  double seconds = 0;

  Json to_json() const;
};

struct SearchOptions {
  /// gguf (its `dtype` for what is no expert) and bits set.
  convert::ConvertOptions convert;
  int threads = 0;
  const std::atomic<bool>* cancelled = nullptr;
};

/// A conversion is given up whose first layers' error is this many times that of the best so far.
inline constexpr double kHopeless = 4;

/// Tries the cheap conversions that keep the experts within convert.bits (candidates.h), and types
/// chosen by layer and projection (allocate.h) by their errors, which a calibration weighs (without
/// one, by how far each layer's rounding moves the predictions); writes the one with the smallest
/// KL divergence from `original` on `text` to the GGUF `output`, the report to FILE.json.
/// Candidates lie in FILE.search meanwhile.
SearchReport convert_best(const LoadedModel& original, const std::filesystem::path& output,
                          const ScoringText& text, const SearchOptions& options);

}  // namespace talpa::search
