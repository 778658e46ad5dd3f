#include "talpa/model/families/family.h"

namespace talpa {
namespace {

void read_hf(const HfReader&, DecoderConfig&) {}

void write_hf(const DecoderConfig&, Json& json) {
  json["mlp_bias"] = false;
  json["attention_bias"] = false;
}

void read_gguf(DecoderConfig&) {}

}  // namespace

const FamilyAdapter kLlamaAdapter = {
    .family = Family::kLlama,
    .model_type = "llama",
    .architecture = "LlamaForCausalLM",
    .defaults = {},
    .experts = {},
    .read_hf = read_hf,
    .write_hf = write_hf,
    .gguf_architecture = "llama",
    .gguf_pairs_rotary_rows = true,
    .read_gguf = read_gguf,
};

}  // namespace talpa
