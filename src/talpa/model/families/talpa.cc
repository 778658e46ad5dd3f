#include "talpa/model/families/family.h"
#include "talpa/model/gguf_own.h"

namespace talpa {
namespace {

void read_hf(const HfReader& reader, DecoderConfig& config) {
  if (!reader.has("talpa"))
    fail(ErrorCode::kFormat, "{}: key talpa, the description of the model, is missing",
         reader.source());
  config = config_from<DecoderConfig>(reader.json().at("talpa"), "talpa");
  if (config.family != Family::kTalpa)
    fail(ErrorCode::kFormat, "{}: talpa.family: expected talpa, got {}", reader.source(),
         enum_name(config.family));
}

void write_hf(const DecoderConfig& config, Json& json) {
  if (config.has_moe()) write_hf_experts(config, "moe_intermediate_size", json);
  const LatentConfig& latent = config.moe.latent;
  const bool one_width = latent.latent_dims.empty() && latent.down_latent_dim == 0;
  if (latent.enabled() && one_width) json["moe_latent_size"] = latent.latent_dim;
  json["talpa"] = config_to_json(config);
}

}  // namespace

const FamilyAdapter kTalpaAdapter = {
    .family = Family::kTalpa,
    .model_type = "talpa",
    .architecture = "TalpaForCausalLM",
    .defaults = {},
    .experts = {.gate = "mlp.experts.gate_proj.weight",
                .up = "mlp.experts.up_proj.weight",
                .down = "mlp.experts.down_proj.weight"},
    .read_hf = read_hf,
    .write_hf = write_hf,
    .gguf_architecture = kOwnArchitecture,
    .gguf_pairs_rotary_rows = false,
    .read_gguf = nullptr,
};

}  // namespace talpa
