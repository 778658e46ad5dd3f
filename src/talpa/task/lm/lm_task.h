#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "talpa/collective/mesh.h"
#include "talpa/model/decoder_config.h"
#include "talpa/nn/init.h"
#include "talpa/task/lm/corpus.h"
#include "talpa/train/balance_config.h"
#include "talpa/train/task.h"
#include "talpa/train/trainer.h"

namespace talpa::lm {

struct LmDataConfig {
  std::string train;      ///< JSON Lines with "text"
  std::string valid;      ///< held out
  std::string tokenizer;  ///< directory with tokenizer.json
  std::string cache = ".assets/ids";
  int sequence_length = 256;
  int batch_size = 16;    ///< sequences of a micro-batch
  int eval_batches = 40;  ///< micro-batches of an evaluation
  bool document_mask = false;

  static constexpr auto fields() {
    using C = LmDataConfig;
    return std::tuple{field("train", &C::train, "training documents, JSON Lines with \"text\""),
                      field("valid", &C::valid, "held-out documents"),
                      field("tokenizer", &C::tokenizer, "directory that holds tokenizer.json"),
                      field("cache", &C::cache, "where encoded documents are kept"),
                      field("sequence_length", &C::sequence_length, "tokens of a sequence"),
                      field("batch_size", &C::batch_size, "sequences of a micro-batch"),
                      field("eval_batches", &C::eval_batches, "micro-batches of an evaluation"),
                      field("document_mask", &C::document_mask,
                            "tokens of a document see no other in their sequence")};
  }
  void validate(const std::string& path) const;
  bool operator==(const LmDataConfig&) const = default;
};

/// Everything of a language-model run, as a recipe file holds it.
struct LmRecipe {
  std::string name = "lm";
  std::uint64_t seed = 0;
  nn::InitialScale initial_scale = nn::InitialScale::kFixed;
  DecoderConfig model;
  LmDataConfig data;
  train::BalanceConfig balance;
  train::TrainerConfig trainer;

  static constexpr auto fields() {
    using C = LmRecipe;
    return std::tuple{field("name", &C::name, "name of the run"),
                      field("seed", &C::seed, "seed of initialisation and data order"),
                      field("initial_scale", &C::initial_scale,
                            "of feed-forward matrices: fixed = 0.02, fan_in = 1 / sqrt(inputs)"),
                      field("model", &C::model, "decoder"),
                      field("data", &C::data, "text"),
                      field("balance", &C::balance, "load of experts"),
                      field("trainer", &C::trainer, "training")};
  }
  /// What its parts cannot say alone; they are not checked again.
  void validate(const std::string& path) const;
  bool operator==(const LmRecipe&) const = default;
};

/// Next-token prediction with nn::Decoder over windows of a token stream. Of the processes of a
/// mesh each takes neighbouring sequences of every batch, all as many but for one.
class LmTask : public train::Task {
 public:
  /// Throws kConfig if a batch has fewer sequences than there are processes, or if they cannot
  /// share the experts evenly.
  explicit LmTask(const LmRecipe& recipe, collective::Mesh* mesh = nullptr);

  std::map<std::string, at::Tensor>& parameters() override { return decoder_.parameters(); }
  bool is_split(const std::string& name) const override;
  train::LossResult training_loss(std::int64_t step, int micro_batch) override;
  void after_step() override;
  double flops_per_token() const override;
  /// "loss" in nats a token, "bits_per_byte", "load_min" and "load_max" over layers of an MoE,
  /// "load_entropy" on average over them.
  std::map<std::string, double> evaluate() override;
  void save_model(const std::filesystem::path& path, DType dtype) override;
  void load_model(const std::filesystem::path& path) override;
  /// Change with what text and tokenizer hold (TokenStream::key).
  Json data_keys() const { return {{"train", train_.key()}, {"valid", valid_.key()}}; }

 private:
  at::Tensor batch(const TokenStream& stream, std::span<const std::int64_t> starts) const;
  std::int64_t num_held_out_windows() const;
  nn::ForwardResult score(const at::Tensor& ids_BT, bool training);
  std::span<const std::int64_t> own_share(std::span<const std::int64_t> starts) const;
  void count_traffic(train::LossResult& result);
  void note_routing(const std::vector<nn::RouterRecord>& routing);

  LmRecipe recipe_;
  collective::Mesh* mesh_;
  std::optional<nn::ExpertRanks> experts_;
  nn::ExpertTraffic counted_;
  at::Device device_;
  TokenStream train_, valid_;
  WindowOrder order_;
  nn::Decoder decoder_;
  // Of the step's micro-batches so far.
  nn::LayerLoad step_load_;
  std::map<int, at::Tensor> step_shift_;
};

}  // namespace talpa::lm
