#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "talpa/base/threads.h"
#include "talpa/format/dtype.h"
#include "talpa/model/weights.h"
#include "talpa/text/tokenizer.h"

namespace talpa {

struct EngineOptions {
  /// Type that matrices are held in: F32, BF16, Q8_0, Q4_0, Q4_1; nullopt keeps what is stored
  /// (F16 and the other block formats are widened or repacked without loss beyond 8 bits).
  /// Asked for Q4_0 or Q4_1, embedding and head are held as Q8_0; routers are always F32.
  std::optional<DType> weights;
  /// Type of keys and values, F32 or F16; nullopt: F16, or F32 where F32 weights are asked for.
  std::optional<DType> kv_type;
  int threads = 0;  ///< 0 = available cores
};

class Model;

enum class LogitsWanted : std::uint8_t { kNone, kLast, kAll };

/// Keys and values of one sequence. Grows as tokens are fed, up to the capacity it was made with.
class KvCache {
 public:
  /// Keys and values held as `type`, F32 or F16. Throws kConfig for another.
  KvCache(const DecoderConfig& config, int capacity, DType type = DType::kF32);
  /// Held as the model wishes.
  KvCache(const Model& model, int capacity);
  ~KvCache();
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;

  int length() const;
  int capacity() const;
  /// Forgets everything behind the first `length` tokens.
  void truncate(int length);

  struct Layers;  ///< for the engine only
  Layers& layers() { return *layers_; }

 private:
  std::unique_ptr<Layers> layers_;
};

/// One sequence's part of a step.
struct SequenceInput {
  KvCache* cache = nullptr;
  std::span<const TokenId> tokens;
  LogitsWanted logits = LogitsWanted::kLast;
};

/// Rows of expert work of one forward, per layer: rows_per_expert[layer][expert]; empty for dense
/// layers. For reports and for counting bytes.
struct RoutingCounts {
  std::vector<std::vector<std::int64_t>> rows_per_expert;
};

/// A packed decoder ready to run, dense or with experts, dense or latent.
class Model {
 public:
  /// Packs the weights. Throws kUnsupported for types it cannot hold.
  static std::shared_ptr<Model> load(const ModelFiles& files, const EngineOptions& options = {});
  ~Model();

  const DecoderConfig& config() const;
  /// Bytes of the packed weights as held.
  std::uint64_t weight_bytes() const;
  /// Bytes of weights that decoding one token reads on average (uniform routing), as held.
  std::uint64_t active_bytes() const;
  /// Bytes of all routed experts as held, latent projections included.
  std::uint64_t expert_bytes() const;
  /// Type that its caches hold keys and values in.
  DType kv_type() const;
  ThreadPool& threads();

  /// Feeds tokens of one or more sequences; returns logits, rows of vocab_size floats in the
  /// order of the inputs (none, one or tokens.size() rows each). Throws kShape when a cache
  /// would overflow, kUsage for a token id out of range; caches are unchanged then.
  std::vector<float> forward(std::span<const SequenceInput> inputs,
                             RoutingCounts* routing = nullptr);

 private:
  Model();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A model with its tokenizer, from a Hugging Face directory or a GGUF.
struct LoadedModel {
  ModelFiles files;
  std::shared_ptr<Model> model;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null if the directory has none
};
LoadedModel load_model(const std::filesystem::path& path, const EngineOptions& options = {});

}  // namespace talpa
