#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "talpa/engine/model.h"
#include "talpa/model/encoder_files.h"

namespace talpa {

/// A packed encoder ready to make vectors of texts.
class Encoder {
 public:
  /// Of the options those of weights and threads count. Throws kUnsupported for types it cannot
  /// hold.
  static std::shared_ptr<Encoder> load(const EncoderFiles& files,
                                       const EngineOptions& options = {});
  ~Encoder();

  const EncoderConfig& config() const;
  std::uint64_t weight_bytes() const;

  /// One vector of length 1 for each text, pooled as the description says; what it is does not
  /// depend on the others. Texts are fed together in bounded steps. Throws kUsage for a text that
  /// is empty or longer than max_positions, and for token ids out of range. Calls from several
  /// threads take turns.
  std::vector<std::vector<float>> embed(std::span<const std::vector<TokenId>> texts);

  /// How many texts of the front a step takes.
  static std::size_t texts_of_step(std::span<const std::vector<TokenId>> texts);

 private:
  Encoder();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// An encoder with its tokenizer.
struct LoadedEncoder {
  EncoderFiles files;
  std::shared_ptr<Encoder> encoder;
  std::shared_ptr<const Tokenizer> tokenizer;
};
/// Throws kNotFound where there is no tokenizer.json, kFormat where it has more tokens than the
/// encoder.
LoadedEncoder load_encoder(const std::filesystem::path& path, const EngineOptions& options = {});

}  // namespace talpa
