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

/// How a model's latent experts are run.
///   kLatent  mixed bases (MoBE, SLBF): factors are held, and an expert is multiplied out into a
///            dense one when a token comes to it, kept in a cache of those used last; plain
///            latents: every token goes through them, nothing is multiplied out
///   kDense   all are multiplied out while loading
///   kAuto    mixed bases: dense if the dense experts fit in half of the memory available, else
///            latent; plain latents: latent, unless they read more for one token than dense experts
///            (latent_outlook) and those fit
enum class ExpertForm : std::uint8_t { kAuto, kLatent, kDense };
template <>
struct EnumNames<ExpertForm> {
  static constexpr std::pair<ExpertForm, const char*> table[] = {
      {ExpertForm::kAuto, "auto"}, {ExpertForm::kLatent, "latent"}, {ExpertForm::kDense, "dense"}};
};

struct EngineOptions {
  /// Type that matrices are held in: F32, BF16, Q8_0, Q4_0, Q4_1; nullopt keeps what is stored
  /// (held_type: other block formats keep their quants where a form allows, else 8 bits).
  /// Asked for Q4_0 or Q4_1, embedding and head are held as Q8_0; routers are always F32.
  std::optional<DType> weights;
  /// Type of keys and values, F32 or F16; nullopt: F16, or F32 where F32 weights are asked for.
  std::optional<DType> kv_type;
  /// Ignored by models without latent experts, but kLatent throws kConfig for them.
  ExpertForm experts = ExpertForm::kAuto;
  /// Bytes of experts multiplied out from mixed bases that are kept; nullopt: a quarter of what
  /// all would take, at most half of the memory available. Results do not depend on it.
  std::optional<std::uint64_t> expert_cache;
  int threads = 0;   ///< 0 = available cores
  bool pin = false;  ///< every thread on a processor of its own (make_thread_pool)
};

/// Counts of the cache of experts multiplied out from mixed bases, since the model was loaded. An
/// expert that a step needs in a layer counts once, however many rows go to it.
struct ExpertCacheStats {
  std::uint64_t hits = 0, misses = 0, evictions = 0;
  std::uint64_t bytes_formed = 0;
  std::uint64_t bytes = 0;     ///< held now
  std::uint64_t capacity = 0;  ///< bound between steps

  /// Share of hits; 1 where nothing was needed.
  double hit_rate() const;
  /// What happened after `before`.
  ExpertCacheStats since(const ExpertCacheStats& before) const;
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
  /// Memory that is taken now.
  std::uint64_t bytes() const;
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
  /// Empty, or [dim]: each token's hidden state behind the last norm is added to it.
  std::span<double> hidden_sum = {};
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
  /// Bytes of the packed weights as held; a cache of experts counts with its bound.
  std::uint64_t weight_bytes() const;
  /// Bytes of weights that a step of `rows` tokens reads on average, each matrix at most once, as
  /// held and with uniform routing: the cache then holds an expert with the chance of its share of
  /// all, and an expert that it does not hold reads its factors too.
  std::uint64_t active_bytes(int rows = 1) const;
  /// Bytes of all routed experts as held, latent projections and the cache's bound included.
  std::uint64_t expert_bytes() const;
  /// kDense or kLatent: what the routed experts run as. kDense for a model without latent experts.
  ExpertForm expert_form() const;
  /// nullopt where no experts are multiplied out as tokens come.
  std::optional<ExpertCacheStats> expert_cache() const;
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
