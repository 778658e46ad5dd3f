#pragma once

#include <filesystem>
#include <optional>

#include "talpa/convert/bases_fit.h"
#include "talpa/convert/method.h"
#include "talpa/convert/tensor_file.h"

namespace talpa::convert {

/// A projection in its layer's scratch folder: finished, or on its way. An empty folder keeps
/// nothing.
class SideStore {
 public:
  SideStore(const std::filesystem::path& folder, Side side);

  struct Finished {
    NamedTensors tensors;  ///< as LayerFit::tensors
    ProjectionFit fit;
  };
  std::optional<Finished> finished() const;
  void finish(const Finished& result) const;

  /// Goes on where a fit was kept, if one was.
  void resume(BasesFit& fit) const;
  void keep(const BasesFit& fit) const;

 private:
  Side side_;
  bool kept_;
  std::filesystem::path finished_, state_;
};

}  // namespace talpa::convert
