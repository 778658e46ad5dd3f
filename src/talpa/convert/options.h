#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/format/dtype.h"
#include "talpa/model/decoder_config.h"

namespace talpa::convert {

/// Which experts share a latent. Experts are renumbered so that groups are consecutive, and the
/// router's rows with them, which leaves the model's function unchanged.
enum class GroupBy : std::uint8_t {
  kOrder,    ///< as they are numbered
  kOverlap,  ///< those whose matrices span similar row spaces (mole.md 2.3 c)
};

}  // namespace talpa::convert

template <>
struct talpa::EnumNames<talpa::convert::GroupBy> {
  static constexpr std::pair<convert::GroupBy, const char*> table[] = {
      {convert::GroupBy::kOrder, "order"}, {convert::GroupBy::kOverlap, "overlap"}};
};

namespace talpa::convert {

/// Types that a file holds the routed experts of a layer in.
struct ExpertTypes {
  /// Of what every expert has for itself.
  DType gate = DType::kF16, up = DType::kF16, down = DType::kF16;
  DType shared = DType::kF16;  ///< of what experts share: ..._in, ..._out, ..._basis
};

/// Types of a GGUF's matrices.
struct GgufTypes {
  DType dtype = DType::kF16;
  std::vector<ExpertTypes> experts = {{}};  ///< one for all layers, or one for each

  const ExpertTypes& of_layer(int layer) const {
    return experts.size() == 1 ? experts[0] : experts.at(static_cast<std::size_t>(layer));
  }
};

/// The type of a matrix whose rows have `columns` elements: F16 where they are not whole blocks, as
/// save_gguf has it.
DType type_in_file(DType wanted, std::int64_t columns);
/// The type of a tensor of routed experts, by its name behind "layers.L.moe."; what is no matrix of
/// theirs is F32.
DType type_of_part(const ExpertTypes& types, std::string_view part);
/// "layers.3.moe.gate_in" -> {3, "gate_in"}; layer -1 for what is no tensor of an MoE.
struct RoutedPart {
  int layer = -1;
  std::string part;
};
RoutedPart routed_part(const std::string& name);
/// "router" and its selection bias, which are kept as they are and counted nowhere.
bool is_router_part(const std::string& part);
/// Bytes that the routed experts of each layer of `config` take in these types, without routers.
std::vector<std::int64_t> expert_bytes_by_layer(const DecoderConfig& config,
                                                const GgufTypes& types);
/// Those of all layers.
std::int64_t expert_bytes_in_file(const DecoderConfig& config, const GgufTypes& types);

struct ProjectionFit;

struct ConvertOptions {
  std::string method = "svd";
  LatentConfig latent;  ///< widths that are 0 come from `budget`
  double budget = 0;    ///< share of the routed experts' parameters that may be kept, 0 = none
  /// GGUF, instead of a budget: bits that the routed experts may take, for each of the original's
  /// parameters; 0 = none. Decides latent widths (in whole blocks) or the number of experts.
  double bits = 0;
  /// Methods with latents: what the budget allows is given to layers by their spectra (widths.h).
  bool allocate = false;
  int num_experts = 0;  ///< prune, merge: experts a layer that are kept, instead of a budget
  int reduce_rank = 0;  ///< svd: the paper's first phase, 0 = skipped
  GroupBy group_by = GroupBy::kOrder;
  /// File of `talpa calibrate`; empty: none. Methods that can use its moments then do.
  std::filesystem::path calibration;
  /// svd-whitened, tucker2: rounds in which the factors are fitted to each other in the experts'
  /// own moments, where the calibration has them; 0 = closed form alone.
  int refine = 3;
  int steps = 0;             ///< iterative methods: 0 = the method's own number
  double learning_rate = 0;  ///< iterative methods: 0 = the method's own
  /// Iterative methods: minimise the error weighted by the calibration's moments.
  bool weighted = false;
  std::uint64_t seed = 0;
  /// Folder where finished and half-finished layers are kept, to go on from; empty: nowhere.
  std::filesystem::path scratch;
  DType dtype = DType::kBF16;
  /// Set: the output is a GGUF of these types, to which experts are rounded as rounded_layer.h has
  /// it, and `dtype` is not looked at.
  std::optional<GgufTypes> gguf;
  bool materialise = false;  ///< write dense experts under the original architecture
  bool overwrite = false;
  /// Set: the conversion throws kInterrupted soon; what --scratch keeps is kept.
  const std::atomic<bool>* cancelled = nullptr;
  /// Set: is told of every finished layer, rounding included, and may throw to stop the conversion.
  std::function<void(int layer, const std::vector<ProjectionFit>& projections)> on_layer;
};

}  // namespace talpa::convert
