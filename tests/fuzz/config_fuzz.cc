#include "fuzz/fuzz.h"
#include "talpa/model/decoder_config.h"
#include "talpa/model/encoder_config.h"
#include "talpa/model/weights.h"

namespace talpa {
namespace {

/// What is accepted survives writing and reading, as JSON and as TOML.
template <class Config>
void check_round_trip(const Config& config) {
  const Json json = config_to_json(config);
  fuzz::require(config_from<Config>(parse_json(json.dump(), "again")) == config, "JSON round trip");
  fuzz::require(config_from<Config>(parse_toml(write_toml(json), "again")) == config,
                "TOML round trip");
}

void read_as_hf(const Json& json) {
  try {
    if (json.value("model_type", Json()) == "bert")
      check_round_trip(from_hf_encoder_config(json, "input"));
    else
      check_round_trip(from_hf_config(json, "input"));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) throw;
  }
}

}  // namespace
}  // namespace talpa

/// Text that begins with a brace is JSON (a Hugging Face config.json, of an encoder too, then
/// talpa's own); other text is TOML.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace talpa;
  return fuzz::run(data, size, [](std::string_view text) {
    const bool is_json = text.starts_with('{');
    const Json json = is_json ? parse_json(text, "input") : parse_toml(text, "input");
    if (is_json) read_as_hf(json);
    check_round_trip(config_from<DecoderConfig>(json));
  });
}
