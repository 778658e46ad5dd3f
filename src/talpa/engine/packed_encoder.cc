#include "talpa/engine/packed_encoder.h"

#include "talpa/base/error.h"

namespace talpa {

namespace {

/// Finds an encoder's tensors by name and packs them.
class EncoderPacker {
 public:
  EncoderPacker(const EncoderFiles& files, std::optional<DType> wanted, ThreadPool& pool)
      : files_(files), wanted_(wanted), pool_(pool) {}

  std::vector<float> vector(const std::string& name) const {
    const Weight& weight = files_.weights.at(name);
    std::vector<float> values(static_cast<std::size_t>(num_elements(weight.shape)));
    weight.read(values.data());
    return values;
  }
  NormWeights norm(const std::string& name) const { return {vector(name), vector(name + "_bias")}; }
  BiasedMatrix biased(const std::string& name) {
    return {matrix(name, wanted_), vector(name + "_bias")};
  }

  PackedMatrix matrix(const std::string& name, std::optional<DType> wanted) {
    const Weight& weight = files_.weights.at(name);
    const RowSource source{weight.shape[0], weight.shape[1], weight.dtype(),
                           [&](std::int64_t first, std::int64_t rows, std::byte* target) {
                             weight.read_rows(first, rows, target);
                           }};
    try {
      return pack(source, held_type(source.dtype, wanted), pool_, &memory_);
    } catch (const Error& error) {
      fail(error.code(), "{}: {}: {}", files_.path.string(), name, error.what());
    }
  }

 private:
  const EncoderFiles& files_;
  std::optional<DType> wanted_;
  ThreadPool& pool_;
  kernel::PanelMemory memory_;
};

EncoderLayerWeights pack_layer(EncoderPacker& packer, int index) {
  const std::string prefix = fmt::format("layers.{}.", index);
  return {.q = packer.biased(prefix + "attn.q"),
          .k = packer.biased(prefix + "attn.k"),
          .v = packer.biased(prefix + "attn.v"),
          .o = packer.biased(prefix + "attn.o"),
          .up = packer.biased(prefix + "ffn.up"),
          .down = packer.biased(prefix + "ffn.down"),
          .attn_norm = packer.norm(prefix + "attn.norm"),
          .ffn_norm = packer.norm(prefix + "ffn.norm")};
}

}  // namespace

std::uint64_t PackedEncoder::bytes() const {
  std::uint64_t total = tokens.bytes() + sizeof(float) * places.size();
  for (const EncoderLayerWeights& layer : layers)
    for (const BiasedMatrix* m : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.up, &layer.down})
      total += m->weight.bytes() + sizeof(float) * m->bias.size();
  return total;
}

PackedEncoder pack_encoder(const EncoderFiles& files, std::optional<DType> wanted,
                           ThreadPool& pool) {
  EncoderPacker packer(files, wanted, pool);
  const bool four_bits = wanted == DType::kQ4_0 || wanted == DType::kQ4_1;
  PackedEncoder encoder{.config = files.config,
                        .tokens = packer.matrix("embed.tokens", four_bits ? DType::kQ8_0 : wanted),
                        .places = packer.vector("embed.positions"),
                        .norm = packer.norm("embed.norm"),
                        .layers = {}};
  const std::vector<float> types = packer.vector("embed.types");
  const auto dim = static_cast<std::size_t>(files.config.dim);
  for (std::size_t i = 0; i < encoder.places.size(); ++i) encoder.places[i] += types[i % dim];
  for (int i = 0; i < files.config.num_layers; ++i) encoder.layers.push_back(pack_layer(packer, i));
  return encoder;
}

}  // namespace talpa
