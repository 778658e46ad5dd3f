#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "talpa/base/config.h"
#include "talpa/convert/calibration.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

/// One of an expert's three matrices.
enum class Side : std::uint8_t { kGate, kUp, kDown };
inline constexpr Side kSides[] = {Side::kGate, Side::kUp, Side::kDown};

}  // namespace talpa::convert

template <>
struct talpa::EnumNames<talpa::convert::Side> {
  static constexpr std::pair<convert::Side, const char*> table[] = {
      {convert::Side::kGate, "gate"}, {convert::Side::kUp, "up"}, {convert::Side::kDown, "down"}};
};

namespace talpa::convert {

/// The routed experts of one layer as methods see them: N experts, m expert width, n model width.
/// Matrices are read when asked for and not kept.
class LayerExperts {
 public:
  /// Layer `layer` of a model with dense experts; both outlive this. `statistics` may be null.
  LayerExperts(const ModelFiles& model, int layer, const LayerStatistics* statistics = nullptr);

  /// Experts in memory, laid out as read() gives them: gate, up, down (transposed) [N, m, n];
  /// router [N, n].
  struct Tensors {
    at::Tensor gate_NMD, up_NMD, down_NMD, router_ND;
  };
  LayerExperts(int layer, Tensors tensors, const LayerStatistics* statistics = nullptr);

  int layer() const { return layer_; }
  std::int64_t num_experts() const { return num_experts_; }  ///< N
  std::int64_t dim() const { return dim_; }                  ///< n
  std::int64_t hidden_dim() const { return hidden_dim_; }    ///< m

  /// fp32 [N, m, n]; down transposed, so that the shared side is last everywhere.
  at::Tensor read(Side side) const { return read(side, 0, num_experts_); }
  /// Experts [first, first + count): [count, m, n].
  at::Tensor read(Side side, std::int64_t first, std::int64_t count) const;
  /// fp32 [N, n].
  at::Tensor router() const;

  /// What the experts saw on calibration text; null without calibration.
  const LayerStatistics* statistics() const { return statistics_; }

 private:
  using Reader = std::function<at::Tensor(Side side, std::int64_t first, std::int64_t count)>;

  int layer_ = 0;
  std::int64_t num_experts_ = 0, dim_ = 0, hidden_dim_ = 0;
  Reader read_;
  std::function<at::Tensor()> router_;
  const LayerStatistics* statistics_ = nullptr;
};

}  // namespace talpa::convert
