#pragma once

#include <span>
#include <string>

#include "talpa/model/families/hf_reader.h"
#include "talpa/model/weights.h"

namespace talpa {

/// Values of keys that a family's config.json may leave out.
struct HfDefaults {
  double rope_theta = 10000;
  double norm_eps = 1e-6;
  int num_kv_heads = 0;  ///< 0 = as many as query heads
  int max_positions = 2048;
  bool tie_embeddings = false;
  bool sliding_window = false;  ///< a window counts unless `use_sliding_window` is false
};

/// Stored names of a family's experts behind `model.layers.L.`; {} is the expert's number. A
/// name without {} holds all experts in one tensor.
struct HfExpertNames {
  const char* router = "mlp.gate.weight";
  const char* gate = "mlp.experts.{}.gate_proj.weight";
  const char* up = "mlp.experts.{}.up_proj.weight";
  const char* down = "mlp.experts.{}.down_proj.weight";
};

/// One family: everything that its files do differently. A new family is one file that defines
/// one of these, a line in family.cc and a value of Family.
struct FamilyAdapter {
  Family family;
  const char* model_type;    ///< config.json `model_type`
  const char* architecture;  ///< config.json `architectures`
  HfDefaults defaults;
  HfExpertNames experts;
  /// Family's own keys; what all families share is read and written by the caller.
  void (*read_hf)(const HfReader& reader, DecoderConfig& config);
  void (*write_hf)(const DecoderConfig& config, Json& json);

  const char* gguf_architecture;  ///< `general.architecture`: llama.cpp's, or talpa's own
  /// llama.cpp stores query and key rows of this architecture in rotary pairs.
  bool gguf_pairs_rotary_rows;
  void (*read_gguf)(DecoderConfig& config);  ///< null: talpa's own, read by gguf_own.h
};

std::span<const FamilyAdapter* const> family_adapters();
const FamilyAdapter& adapter_of(Family family);
/// "llama, mixtral, ...", for messages.
std::string known_families();

extern const FamilyAdapter kLlamaAdapter;
extern const FamilyAdapter kMixtralAdapter;
extern const FamilyAdapter kQwen2MoeAdapter;
extern const FamilyAdapter kQwen3MoeAdapter;
extern const FamilyAdapter kOlmoeAdapter;
extern const FamilyAdapter kTalpaAdapter;

}  // namespace talpa
