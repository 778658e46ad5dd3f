#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "talpa/eval/model_bench.h"

namespace talpa {

/// A published model's description, cut to its first `layers` layers (0 = all). Throws kUsage for
/// an unknown name, with the nearest one, and for more layers than it has.
DecoderConfig published_config(const std::string& name, int layers = 0);

/// Models loaded side by side, to be timed in turn.
struct ModelSet {
  std::vector<std::shared_ptr<Model>> models;
  std::vector<BenchedModel> benched;

  /// Loads and keeps a model; with the cost of loading if it `is_stored`.
  void add(std::string name, const ModelFiles& files, const EngineOptions& options,
           bool is_stored = true);
};

/// Random weights under each description, held as each of `dtypes`. Latent experts run latent
/// unless `engine` asks for dense ones: to compare is what they were asked for. Throws
/// kUnsupported, saying how many layers would fit, when all of them together need more than
/// `memory` bytes.
ModelSet random_models(const std::string& name, std::span<const DecoderConfig> configs,
                       std::span<const DType> dtypes, EngineOptions engine, std::uint64_t memory);
/// A model on disk, held as each of `dtypes`, or as stored if there are none. Throws kUnsupported
/// like random_models.
ModelSet stored_models(const std::filesystem::path& path, std::span<const DType> dtypes,
                       EngineOptions engine, std::uint64_t memory);

}  // namespace talpa
