#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/base/config.h"

namespace talpa {

/// Byte-level BPE as GPT-2's: text is cut by a regular expression, digits one by one, and the
/// most frequent pair of symbols is merged until the vocabulary is full. Ties go to the pair of
/// lower ids, so that the same text gives the same file.
struct BpeTrainerConfig {
  int vocab_size = 4096;
  int min_frequency = 2;
  std::vector<std::string> special_tokens = {"<|endoftext|>"};

  static constexpr auto fields() {
    return std::tuple{
        field("vocab_size", &BpeTrainerConfig::vocab_size, "tokens, special ones included"),
        field("min_frequency", &BpeTrainerConfig::min_frequency, "rarer pairs are not merged"),
        field("special_tokens", &BpeTrainerConfig::special_tokens, "first ids, in this order")};
  }
  void validate(const std::string& path) const;
  bool operator==(const BpeTrainerConfig&) const = default;
};

/// Counts words of texts, then learns merges.
class BpeTrainer {
 public:
  explicit BpeTrainer(BpeTrainerConfig config);
  ~BpeTrainer();
  /// Adds a document.
  void add(std::string_view text);
  /// The finished `tokenizer.json`, which Tokenizer::from_json and Hugging Face read.
  /// `progress(done, total)` counts merges.
  Json train(const std::function<void(std::int64_t, std::int64_t)>& progress = {});

 private:
  struct State;
  BpeTrainerConfig config_;
  std::unique_ptr<State> state_;
};

}  // namespace talpa
