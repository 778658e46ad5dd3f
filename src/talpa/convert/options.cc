#include "talpa/convert/options.h"

#include <cstdio>
#include <numeric>

#include "talpa/model/weights.h"

namespace talpa::convert {

DType type_in_file(DType wanted, std::int64_t columns) {
  return columns % info_of(wanted).block_size == 0 ? wanted : DType::kF16;
}

DType type_of_part(const ExpertTypes& types, std::string_view part) {
  if (part == "gate") return types.gate;
  if (part == "up") return types.up;
  if (part == "down") return types.down;
  const bool shared = part.ends_with("_in") || part.ends_with("_out") || part.ends_with("_basis");
  return shared ? types.shared : DType::kF32;
}

std::vector<std::int64_t> expert_bytes_by_layer(const DecoderConfig& config,
                                                const GgufTypes& types) {
  std::vector<std::int64_t> bytes(static_cast<std::size_t>(config.num_layers));
  for (const WeightSpec& spec : weight_specs(config)) {
    const auto [layer, part] = routed_part(spec.name);
    if (layer < 0 || is_router_part(part)) continue;
    const DType type = type_in_file(type_of_part(types.of_layer(layer), part), spec.shape.back());
    bytes[static_cast<std::size_t>(layer)] += static_cast<std::int64_t>(
        bytes_of(type, static_cast<std::uint64_t>(num_elements(spec.shape))));
  }
  return bytes;
}

std::int64_t expert_bytes_in_file(const DecoderConfig& config, const GgufTypes& types) {
  const auto layers = expert_bytes_by_layer(config, types);
  return std::accumulate(layers.begin(), layers.end(), std::int64_t{0});
}

bool is_router_part(const std::string& part) { return part == "router" || part == "router_bias"; }

RoutedPart routed_part(const std::string& name) {
  int layer = -1;
  char rest[64] = {};
  if (std::sscanf(name.c_str(), "layers.%d.moe.%63s", &layer, rest) != 2) return {};
  return {layer, rest};
}

}  // namespace talpa::convert
