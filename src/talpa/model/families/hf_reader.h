#pragma once

#include <optional>
#include <string>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/model/decoder_config.h"

namespace talpa {

/// Typed access to a config.json. Null counts as absent. Errors name source and key.
class HfReader {
 public:
  HfReader(const Json& json, const std::string& source) : json_(json), source_(source) {}

  const std::string& source() const { return source_; }
  const Json& json() const { return json_; }
  bool has(const char* key) const;

  /// Throws kFormat if the key is absent, of another type or does not fit in an int.
  int integer(const char* key) const;
  int integer(const char* key, int fallback) const;
  double number(const char* key, double fallback) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  /// An integer, a list of integers, or nothing.
  std::vector<int> integers(const char* key) const;
  /// The value of whichever of two spellings is there; kFormat if they disagree.
  int either(const char* first, const char* second) const;

  /// Throws kUnsupported: "source: key = value: why".
  [[noreturn]] void refuse(const std::string& key, const Json& value, const char* why) const;

 private:
  [[noreturn]] void wrong_type(const std::string& key, const char* expected,
                               const Json& value) const;
  int to_int(const std::string& key, const Json& value) const;

  const Json& json_;
  const std::string& source_;
};

/// Reads the keys that all mixture families share: experts, top-k, auxiliary losses, which
/// layers are dense.
void read_hf_experts(const HfReader& reader, DecoderConfig& config);
/// Writes them. `hidden_key` names the width of an expert.
void write_hf_experts(const DecoderConfig& config, const char* hidden_key, Json& json);

}  // namespace talpa
