#include "talpa/engine/expert_choice.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/engine/read_factors.h"
#include "talpa/model/accounting.h"
#include "talpa/model/expert_parts.h"

namespace talpa {

namespace {

std::string size(std::uint64_t bytes) {
  const auto mib = static_cast<double>(bytes) / (1u << 20);
  return mib < 1024 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.2f} GiB", mib / 1024);
}

/// "the dense experts take 3.00 GiB, within half of the 20.00 GiB available"
std::string comparison(bool fits, std::uint64_t dense_bytes, std::uint64_t available) {
  if (available == 0)
    return fmt::format("the dense experts take {}, and how much memory is free is not known",
                       size(dense_bytes));
  return fmt::format("the dense experts take {}, {} half of the {} available", size(dense_bytes),
                     fits ? "within" : "more than", size(available));
}

ExpertChoice chosen(const DecoderConfig& config, std::uint64_t dense_bytes,
                    std::uint64_t available) {
  const LatentConfig& latent = config.moe.latent;
  const bool fits = available == 0 || dense_bytes <= available / 2;
  const std::string memory = comparison(fits, dense_bytes, available);
  if (latent.mixed) return {fits ? ExpertForm::kDense : ExpertForm::kLatent, memory};
  double ratio = 0;
  for (int layer = 0; layer < config.num_layers; ++layer)
    if (config.is_moe_layer(layer))
      ratio += latent_outlook(config, latent.of_layer(layer)).read_ratio_1 / num_moe_layers(config);
  const std::string reading =
      fmt::format("for one token they read {:.3f} times what dense ones do", ratio);
  if (ratio <= 1) return {ExpertForm::kLatent, reading};
  return {fits ? ExpertForm::kDense : ExpertForm::kLatent, reading + "; " + memory};
}

}  // namespace

ExpertChoice choose_experts(const DecoderConfig& config, ExpertForm wanted,
                            std::uint64_t dense_bytes, std::uint64_t available) {
  if (!config.has_moe() || !config.moe.latent.enabled()) {
    if (wanted == ExpertForm::kLatent)
      fail(ErrorCode::kConfig, "experts = latent: the model has no latent experts");
    return {};
  }
  if (wanted != ExpertForm::kAuto) return {wanted, "asked for"};
  return chosen(config, dense_bytes, available);
}

std::uint64_t expert_cache_bytes(std::optional<std::uint64_t> wanted, std::uint64_t formed_bytes,
                                 std::uint64_t available) {
  if (wanted) return std::min(*wanted, formed_bytes);
  const std::uint64_t quarter = formed_bytes / 4;
  return available > 0 ? std::min(quarter, available / 2) : quarter;
}

std::uint64_t dense_expert_bytes(const ModelFiles& files, std::optional<DType> wanted) {
  const MoeConfig& moe = files.config.moe;
  const std::int64_t n = files.config.dim, m = moe.hidden_dim;
  std::uint64_t total = 0;
  for (int layer = 0; layer < files.config.num_layers; ++layer) {
    if (!files.config.is_moe_layer(layer)) continue;
    const std::string prefix = fmt::format("layers.{}.moe.", layer);
    for (const char* name : {"gate", "up", "down"}) {
      const DType held = held_type_of(files, prefix + name, wanted);
      const bool is_down = std::string_view(name) == "down";
      total += static_cast<unsigned>(moe.num_experts) *
               packed_bytes(is_down ? n : m, is_down ? m : n, held);
    }
  }
  return total;
}

}  // namespace talpa
