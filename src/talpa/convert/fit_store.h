#pragma once

#include <filesystem>
#include <optional>

#include "talpa/convert/method.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

/// Finished layers of a conversion that is to survive an interruption, one folder each. An empty
/// path keeps nothing.
class FitStore {
 public:
  /// `target` as planned, before sizes are given to layers. Throws kUsage when the folder holds
  /// layers of another model or of other options.
  FitStore(const std::filesystem::path& path, const ModelFiles& model, const DecoderConfig& target,
           const ConvertOptions& options, const std::string& calibration_key);

  /// A layer's folder, made; empty if nothing is kept.
  std::filesystem::path folder(int layer) const;
  bool has(int layer) const;
  /// What the layer's sizes come from.
  std::optional<LayerSpectra> load_spectra(int layer) const;
  void save_spectra(int layer, const LayerSpectra& spectra) const;
  std::optional<LayerFit> load(int layer) const;
  void save(int layer, const LayerFit& fit) const;

 private:
  std::filesystem::path path_;
};

}  // namespace talpa::convert
