#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "talpa/format/tensor_store.h"
#include "talpa/model/decoder_config.h"

namespace talpa {

/// talpa's names and shapes of a decoder's tensors; n = dim, m = expert width, r = latent width,
/// N experts, G groups, H heads of width h, J key/value heads:
///   embed [V,n]  norm [n]  head [V,n] (absent when tied)
///   layers.L.attn_norm [n]   layers.L.attn.q [H*h,n]  .k .v [J*h,n]  .o [n,H*h]
///   layers.L.attn.q_bias [H*h] .k_bias .v_bias [J*h]   layers.L.attn.q_norm .k_norm [h or width]
///   layers.L.ffn_norm [n]
///   dense layer:   layers.L.ffn.gate .up [f,n]  .down [n,f]
///   MoE layer:     layers.L.moe.router [N,n]   .moe.router_bias [N] with selection_bias
///     dense:         .moe.gate .up [N,m,n]   .moe.down [N,n,m]
///     factored gate: .moe.gate [N,m,r] and .moe.gate_in [G,r,n]; up alike with .moe.up_in;
///                    shared latent: .moe.gate_up_in [G,r,n] instead of both
///     factored down: .moe.down [N,r,m] and .moe.down_out [G,n,r]
///     mixed:         additionally .moe.gate_mix .up_mix .down_mix [N,G] of what is factored
///                    (gate_up_mix when the latent is shared)
///     low-rank bases, rank k_b: B_j = U_j V_j of gate and up, C_j = V'_j U'_j of down, where
///                    .moe.gate_in [G,k_b,n] holds V and .moe.down_out [G,n,k_b] V', and
///                    .moe.gate_basis [G,r-k_b,k_b] with .moe.gate_pivot [G,r] is U after gauge
///                    fixing (SLBF): the pivot has ones at k_b rows of U_j, which are those of
///                    the identity in order, the other rows are those of gate_basis in order;
///                    .moe.down_basis [G,k_b,r-k_b] holds columns of U' alike (basis_pivots.h)
///   shared expert: layers.L.shared.gate .up [s,n]  .down [n,s]  .router [1,n]
struct WeightSpec {
  std::string name;
  Shape shape;
  bool operator==(const WeightSpec&) const = default;
};

/// Every tensor a decoder of this description has, in file order.
std::vector<WeightSpec> weight_specs(const DecoderConfig& config);
/// r and k_b of the latent that a weight of the model belongs to, e.g. "layers.3.moe.down_pivot".
LatentSize latent_size_of(const LatentConfig& latent, std::string_view name);

/// One tensor under talpa's name. Its elements are the pieces one after another: a stack of
/// experts may lie in one stored tensor or in many, and rows may be reordered, without a copy.
struct Weight {
  Shape shape;
  std::vector<TensorView> pieces;

  /// The one type of all pieces.
  DType dtype() const { return pieces.front().dtype; }
  /// Bytes as stored.
  std::uint64_t bytes() const;
  /// All elements as float into `target` (num_elements(shape)).
  void read(float* target) const;
  /// Rows [first, first + count) of the tensor seen as a matrix of shape.back() columns; bytes
  /// as stored are appended to `target`. Used to pack without widening.
  void read_rows(std::int64_t first, std::int64_t count, std::byte* target) const;
  /// The sub-tensor at `index` of the first dimension (an expert, a group).
  Weight slice(std::int64_t index) const;
};

/// A model on disk: its description, its tensors under talpa's names, where it came from.
struct ModelFiles {
  std::filesystem::path path;
  std::string format;  ///< "hf" or "gguf"
  DecoderConfig config;
  std::map<std::string, Weight> weights;
  std::shared_ptr<TensorStore> store;  ///< keeps the mapping alive; a GgufFile for GGUF

  /// Throws kNotFound.
  const Weight& at(const std::string& name) const;
};

/// Opens a Hugging Face directory or a GGUF of any known family. Every tensor of the
/// description must be there with its shape, and every stored tensor must be used: kFormat
/// otherwise, naming tensors. Reads headers only.
ModelFiles open_model(const std::filesystem::path& path);

/// config.json of a description in its family's Hugging Face layout (kTalpa: talpa's own).
Json to_hf_config(const DecoderConfig& config, DType dtype);
/// Description from a config.json; throws kUnsupported for an architecture or an option that
/// changes the arithmetic and is not known (rope scaling, sliding windows that bite, ...).
DecoderConfig from_hf_config(const Json& config, const std::string& source);

/// How a tensor under talpa's name is spread over stored tensors of a Hugging Face directory:
/// stored name and the slice of the first dimension it holds (-1: all of it).
struct StoredPart {
  std::string stored_name;
  std::int64_t slice;
};
std::vector<StoredPart> hf_parts(const DecoderConfig& config, const WeightSpec& spec);

/// Provides one tensor's elements as float when the writer asks for it.
using WeightProvider = std::function<void(const WeightSpec& spec, float* target)>;

struct SaveOptions {
  DType dtype = DType::kBF16;  ///< F32, F16 or BF16 (norms and routers too)
  bool overwrite = false;
  /// Directory whose tokenizer files are copied, or a tokenizer.json; empty: none.
  std::filesystem::path tokenizer_from;
  std::map<std::string, std::string> metadata;
};

/// Writes a Hugging Face directory (config.json, generation_config.json, model.safetensors,
/// tokenizer files), streamed tensor by tensor, beside `path` and renamed.
void save_hf_directory(const std::filesystem::path& path, const DecoderConfig& config,
                       const WeightProvider& provider, const SaveOptions& options = {});

/// How a GGUF is written: under the family's architecture in llama.cpp, or talpa's own for family
/// kTalpa (gguf_own.h), which latent experts need. Types are those that are written (dtype.h); rows
/// that are not whole blocks stay F16; norms, routers, pivots and mixing weights are F32.
struct GgufSaveOptions {
  DType dtype = DType::kF16;  ///< of matrices
  /// Of the routed experts' own matrices: moe.gate, .up, .down.
  std::optional<DType> expert_dtype = {};
  /// Of the factors that experts share: moe..._in, ..._out, ..._basis.
  std::optional<DType> shared_dtype = {};
  /// Types of single matrices, which come before the three above; nullopt: as those say.
  std::function<std::optional<DType>(const WeightSpec& spec)> type_of = {};
  bool overwrite = false;  ///< else throws kUsage if the file is there
  /// Asked first for every tensor: writes its elements, row by row in our order, in the type that
  /// they are stored in and returns true, or returns false, whereupon the provider's floats are
  /// rounded. For what is rounded already and must not be again.
  std::function<bool(const WeightSpec& spec, DType dtype, std::span<std::byte> target)> encoded =
      {};
  /// tokenizer.json to embed or its directory; empty: the file has no tokenizer.
  std::filesystem::path tokenizer_from = {};
};
void save_gguf(const std::filesystem::path& path, const DecoderConfig& config,
               const WeightProvider& provider, const GgufSaveOptions& options = {});

}  // namespace talpa
