#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "talpa/model/encoder_config.h"
#include "talpa/model/weights.h"

namespace talpa {

/// An encoder on disk under talpa's names; n = dim, f = ffn_dim:
///   embed.tokens [V,n]  embed.positions [P,n]  embed.types [T,n]  embed.norm .norm_bias [n]
///   layers.L.attn.q .k .v .o [n,n], each with a bias: .q_bias [n] ...
///   layers.L.attn.norm .norm_bias [n]
///   layers.L.ffn.up [f,n] .up_bias [f] .down [n,f] .down_bias [n] .norm .norm_bias [n]
struct EncoderFiles {
  std::filesystem::path path;
  EncoderConfig config;
  std::map<std::string, Weight> weights;
  std::shared_ptr<TensorStore> store;
};

/// Every tensor of an encoder, in file order.
std::vector<WeightSpec> encoder_weight_specs(const EncoderConfig& config);

/// Whether a path is a Hugging Face directory of an encoder, by its config.json.
bool is_encoder(const std::filesystem::path& path);

/// Opens a Hugging Face directory of a BERT; pooling is that of sentence-transformers'
/// 1_Pooling/config.json if it is there, else the mean. Tensors are checked as by open_model; a
/// pooler and heads of pre-training are left aside.
EncoderFiles open_encoder(const std::filesystem::path& path);

}  // namespace talpa
