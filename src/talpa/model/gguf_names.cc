#include <map>

#include "talpa/model/families/family.h"
#include "talpa/model/gguf_config.h"
#include "talpa/model/hf_names.h"

namespace talpa {
namespace {

const std::map<std::string_view, const char*>& gguf_layer_names() {
  static const std::map<std::string_view, const char*> names = {
      {"attn_norm", "attn_norm.weight"},
      {"attn.q", "attn_q.weight"},
      {"attn.k", "attn_k.weight"},
      {"attn.v", "attn_v.weight"},
      {"attn.o", "attn_output.weight"},
      {"attn.q_bias", "attn_q.bias"},
      {"attn.k_bias", "attn_k.bias"},
      {"attn.v_bias", "attn_v.bias"},
      {"attn.q_norm", "attn_q_norm.weight"},
      {"attn.k_norm", "attn_k_norm.weight"},
      {"ffn_norm", "ffn_norm.weight"},
      {"ffn.gate", "ffn_gate.weight"},
      {"ffn.up", "ffn_up.weight"},
      {"ffn.down", "ffn_down.weight"},
      {"moe.router", "ffn_gate_inp.weight"},
      {"moe.gate", "ffn_gate_exps.weight"},
      {"moe.up", "ffn_up_exps.weight"},
      {"moe.down", "ffn_down_exps.weight"},
      {"shared.gate", "ffn_gate_shexp.weight"},
      {"shared.up", "ffn_up_shexp.weight"},
      {"shared.down", "ffn_down_shexp.weight"},
      {"shared.router", "ffn_gate_inp_shexp.weight"},
  };
  return names;
}

}  // namespace

std::string gguf_name(Family family, const std::string& weight_name) {
  if (family == Family::kTalpa) return weight_name;
  const WeightName name = split_weight_name(weight_name);
  if (name.role == "embed") return "token_embd.weight";
  if (name.role == "norm") return "output_norm.weight";
  if (name.role == "head") return "output.weight";
  const auto it = gguf_layer_names().find(name.role);
  if (it == gguf_layer_names().end())
    fail(ErrorCode::kUnsupported, "a GGUF has no place for tensor {}", weight_name);
  return fmt::format("blk.{}.{}", name.layer, it->second);
}

std::int64_t gguf_rotary_row(std::int64_t row, int head_dim) {
  const std::int64_t in_head = row % head_dim;
  const std::int64_t pairs = head_dim / 2;
  return row - in_head + 2 * (in_head % pairs) + in_head / pairs;
}

bool gguf_pairs_rows(const DecoderConfig& config, const std::string& weight_name) {
  const std::string_view role = split_weight_name(weight_name).role;
  return adapter_of(config.family).gguf_pairs_rotary_rows &&
         (role == "attn.q" || role == "attn.k" || role == "attn.q_bias" || role == "attn.k_bias");
}

}  // namespace talpa
