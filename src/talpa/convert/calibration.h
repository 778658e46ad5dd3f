#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "talpa/base/config.h"
#include "talpa/format/tensor_store.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

/// What the experts of one layer saw on calibration text. Sums over the rows (tokens) that were
/// routed to an expert; w is the row's combine weight there, p = w over the root mean square of the
/// row's state behind the layer (as a norm takes it), x [n] the input of the experts, h = silu(gate
/// x) * up x [m] the input of down. N experts, n model width, m expert width. Sums are fp64 and not
/// divided by anything; moments are weighted by p^2, so that tr((W - W') moment (W - W')^T) is the
/// squared error that W' makes in the layer's output (down) or in what an expert computes from its
/// input (gate, up), each row's relative to its state: later layers see states through norms, and
/// errors of different layers add up in this unit.
class LayerStatistics {
 public:
  std::int64_t tokens = 0;    ///< rows of the layer
  at::Tensor rows_N;          ///< int64, rows routed to each expert
  at::Tensor mass_N;          ///< sum of w
  at::Tensor mass2_N;         ///< sum of p^2
  at::Tensor output_mass_N;   ///< sum of w |E(x)|_2 (REAP's score before the mean)
  at::Tensor mean_output_ND;  ///< mean of E(x) over some of the layer's rows, routed there or not
  at::Tensor gate_effect_NM;  ///< sum of p^2 (up x * silu'(gate x))^2 |down column|^2
  at::Tensor up_effect_NM;    ///< sum of p^2 silu(gate x)^2 |down column|^2
  at::Tensor input_moments;   ///< [N, n, n], or the layer's [n, n]: sum of p^2 x x^T
  at::Tensor hidden_moments;  ///< [N, m, m], or the diagonals [N, m]: sum of p^2 h h^T

  std::int64_t num_experts() const;
  bool has_expert_inputs() const;  ///< input moments are known expert by expert
  bool has_full_hidden() const;    ///< hidden moments are known in full

  /// [n, n]. Where only the layer's is known, its share by mass2.
  at::Tensor input_moment(std::int64_t expert) const;
  /// Sum over some experts.
  at::Tensor input_moment(std::span<const std::int64_t> experts) const;
  /// Sum over all of them.
  at::Tensor layer_input_moment() const;
  /// [m, m]; diagonal where only that is known.
  at::Tensor hidden_moment(std::int64_t expert) const;

  /// Gives back the memory that reading moments from a file took; they can be read again.
  std::function<void()> release = [] {};
};

/// Key of the description in a file's metadata; its number changes when sums mean something else.
inline constexpr const char* kDescriptionKey = "talpa_calibration_2";

/// A file of `talpa calibrate`: a LayerStatistics a layer, read when asked.
class Calibration {
 public:
  struct Description {
    std::string model;   ///< path as given
    std::string digest;  ///< of the model, see digest_of
    std::string text;    ///< name of the text
    std::int64_t tokens = 0;
    int context = 0;
    std::uint64_t seed = 0;

    static constexpr auto fields() {
      using C = Description;
      return std::tuple{field("model", &C::model, "model that was run"),
                        field("digest", &C::digest, "of that model"),
                        field("text", &C::text, "text that it read"),
                        field("tokens", &C::tokens, "tokens of it"),
                        field("context", &C::context, "tokens a window"),
                        field("seed", &C::seed, "of the choice of windows")};
    }
  };

  /// Throws kFormat for a file that is no calibration.
  static Calibration open(const std::filesystem::path& path);

  const Description& description() const { return description_; }
  const std::filesystem::path& path() const { return path_; }
  /// Throws kUsage unless the calibration was made with this model.
  void check_made_for(const ModelFiles& model) const;
  /// Moments stay in the file and are mapped. Throws kNotFound for a layer without experts, kFormat
  /// for sizes that are not those of `config`'s experts.
  LayerStatistics layer(int layer, const DecoderConfig& config) const;
  /// 16 digits that change with what the file was made of.
  std::string key() const;

 private:
  std::filesystem::path path_;
  Description description_;
  std::shared_ptr<TensorStore> store_;
};

/// 16 hexadecimal digits (FNV-1a, 64 bits) of a model's description, its routers and the
/// beginning of every other tensor of its experts: enough to tell checkpoints apart.
std::string digest_of(const ModelFiles& model);

}  // namespace talpa::convert
