#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "talpa/base/config.h"
#include "talpa/convert/layer_stream.h"
#include "talpa/format/dtype.h"
#include "talpa/model/weights.h"

namespace talpa::convert {

struct DistilOptions {
  int steps = 200;  ///< of Adam, a layer
  std::int64_t batch_rows = 2048;
  /// Largest change of a tensor's elements in a step, relative to their root mean square.
  double learning_rate = 0.01;
  std::uint64_t seed = 0;
  std::int64_t batch_tokens = 4096;  ///< fed together through attention
  DType dtype = DType::kBF16;
  bool overwrite = false;
  const std::atomic<bool>* cancelled = nullptr;  ///< set: throws kInterrupted soon
};

struct DistilReport {
  struct Layer {
    int layer = 0;
    /// |y - y'|^2 / |y|^2 of the layer's output on rows kept aside, before and after.
    double before = 0, after = 0;
    double seconds = 0;
  };
  std::vector<Layer> layers;
  double seconds = 0;

  Json to_json() const;
};

/// Refits the experts of a converted model layer by layer, the original being the teacher: both
/// read the sequences, and a layer's expert tensors (not its router) are trained for a few hundred
/// steps of Adam so that the states behind it are those of the original. Layers go in order and
/// see what the refitted ones before them put out, so errors do not add up. A tenth of the rows is
/// kept aside; a layer keeps the tensors that are best on them, the old ones included. Writes a
/// Hugging Face directory. Throws kShape where the models differ in more than their experts.
DistilReport distil(const ModelFiles& original, const ModelFiles& converted,
                    std::vector<TokenSequence> sequences, const std::filesystem::path& output,
                    const DistilOptions& options);

}  // namespace talpa::convert
