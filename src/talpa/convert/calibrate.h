#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/convert/calibration.h"
#include "talpa/convert/layer_stream.h"

namespace talpa::convert {

struct CalibrateOptions {
  std::string text;                  ///< name of the text, for the file
  std::int64_t tokens = 65536;       ///< to read at most
  int context = 512;                 ///< longest sequence, for the file
  std::uint64_t seed = 0;            ///< of the choice of sequences
  std::int64_t batch_tokens = 4096;  ///< fed together
  /// A layer's moments of one kind in full where they take at most this: input moments expert by
  /// expert else the layer's, hidden moments else their diagonals.
  std::uint64_t moment_bytes = std::uint64_t{1} << 30;
  std::int64_t output_rows = 1024;  ///< rows that go through all experts
  bool overwrite = false;
};

struct CalibrationReport {
  Calibration::Description description;
  bool expert_inputs = false, full_hidden = false;
  std::vector<int> layers;                         ///< those with experts
  std::vector<std::vector<std::int64_t>> rows_LN;  ///< rows that each expert saw
  double seconds = 0;

  Json to_json() const;
};

/// Sequences in an order that depends on the seed alone, as many as make up `tokens`; the last is
/// cut.
std::vector<TokenSequence> sample_sequences(std::vector<TokenSequence> sequences,
                                            std::int64_t tokens, std::uint64_t seed);

/// Runs sequences through a model with dense experts, layer by layer, and writes what its experts
/// see. Memory: one layer, one layer's moments, and the hidden states of all tokens. Throws
/// kUnsupported for a model without experts or with latent ones, kUsage where `path` exists.
CalibrationReport calibrate(const ModelFiles& model, std::vector<TokenSequence> sequences,
                            const std::filesystem::path& path, const CalibrateOptions& options);

}  // namespace talpa::convert
