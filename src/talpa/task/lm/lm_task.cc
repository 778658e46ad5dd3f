// B sequences, T tokens, V vocabulary.
#include "talpa/task/lm/lm_task.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "talpa/base/stopwatch.h"
#include "talpa/model/accounting.h"
#include "talpa/route/plan.h"

namespace talpa::lm {

namespace fs = std::filesystem;

void LmDataConfig::validate(const std::string& path) const {
  for (const auto& [name, value] :
       {std::pair{"train", &train}, std::pair{"valid", &valid}, std::pair{"tokenizer", &tokenizer}})
    if (value->empty()) fail(ErrorCode::kConfig, "{}.{} is not set", path, name);
  for (const auto& [name, value] :
       {std::pair{"sequence_length", sequence_length}, std::pair{"batch_size", batch_size},
        std::pair{"eval_batches", eval_batches}})
    if (value < 1) fail(ErrorCode::kConfig, "{}.{} = {} is not positive", path, name, value);
}

void LmRecipe::validate(const std::string& path) const {
  if (balance.bias != train::BiasUpdate::kNone && !model.moe.selection_bias)
    fail(ErrorCode::kConfig, "{} = {} needs model.moe.selection_bias = true",
         talpa::detail::join(path, "balance.bias"), enum_name(balance.bias));
  for (const TokenId token : model.eos_tokens)
    if (model.vocab_size > 0 && (token < 0 || token >= model.vocab_size))
      fail(ErrorCode::kConfig, "{} has token {}, outside model.vocab_size = {}",
           talpa::detail::join(path, "model.eos_tokens"), token, model.vocab_size);
  if (data.sequence_length > model.max_positions)
    fail(ErrorCode::kConfig, "{} = {} is above model.max_positions = {}",
         talpa::detail::join(path, "data.sequence_length"), data.sequence_length,
         model.max_positions);
}

namespace {

TokenId end_token_of(const DecoderConfig& model) {
  if (model.eos_tokens.empty())
    fail(ErrorCode::kConfig, "model.eos_tokens is empty: documents need an end token");
  return model.eos_tokens.front();
}

fs::path tokenizer_json(const LmRecipe& recipe) {
  return fs::path(recipe.data.tokenizer) / "tokenizer.json";
}

at::Device device_of(const std::string& name) {
  try {
    const at::Device device(name);
    if (!device.is_cpu() && !device.is_cuda())
      fail(ErrorCode::kConfig, "trainer.device = {}: expected cpu or cuda", name);
    if (device.is_cuda() && !at::hasCUDA())
      fail(ErrorCode::kConfig, "trainer.device = {}: libtorch finds no CUDA device here", name);
    at::empty({1}, device);
    return device;
  } catch (const c10::Error& error) {
    fail(ErrorCode::kConfig, "trainer.device = {}: {}", name, error.what_without_backtrace());
  }
}

void check_division(const LmRecipe& recipe, collective::Mesh* mesh) {
  if (mesh == nullptr) return;
  if (recipe.data.batch_size < mesh->world().size())
    fail(ErrorCode::kConfig, "data.batch_size = {} is fewer than the {} processes",
         recipe.data.batch_size, mesh->world().size());
  const int parts = recipe.trainer.distribution.expert_parallel;
  if (parts > 1 && !recipe.model.has_moe())
    fail(ErrorCode::kConfig, "trainer.distribution.expert_parallel = {} needs a model with experts",
         parts);
  if (recipe.model.has_moe() && recipe.model.moe.num_experts % parts != 0)
    fail(ErrorCode::kConfig,
         "trainer.distribution.expert_parallel = {} does not divide model.moe.num_experts = {}",
         parts, recipe.model.moe.num_experts);
}

/// Now, not at the step that draws it.
void check_tokens(std::span<const std::uint16_t> ids, const DecoderConfig& model,
                  const std::string& file) {
  const auto largest = std::max_element(ids.begin(), ids.end());
  if (largest != ids.end() && *largest >= model.vocab_size)
    fail(ErrorCode::kConfig, "{}: token {} of the tokenizer is outside model.vocab_size = {}", file,
         *largest, model.vocab_size);
}

/// The document of every position, counted from 0 in each sequence: an end token is the last of
/// its own.
at::Tensor documents_of(const at::Tensor& ids_BT, TokenId end_token) {
  const at::Tensor ends_BT = ids_BT.eq(end_token).to(at::kLong);
  return ends_BT.cumsum(1) - ends_BT;
}

}  // namespace

LmTask::LmTask(const LmRecipe& recipe, collective::Mesh* mesh)
    : recipe_(recipe),
      mesh_(mesh),
      device_(device_of(recipe.trainer.device)),
      train_(recipe.data.train, tokenizer_json(recipe), end_token_of(recipe.model),
             recipe.data.cache),
      valid_(recipe.data.valid, tokenizer_json(recipe), end_token_of(recipe.model),
             recipe.data.cache),
      order_(static_cast<std::int64_t>(train_.ids().size()), recipe.data.sequence_length,
             recipe.seed, recipe.data.train),
      decoder_(recipe.model) {
  check_division(recipe, mesh);
  check_tokens(train_.ids(), recipe.model, recipe.data.train);
  check_tokens(valid_.ids(), recipe.model, recipe.data.valid);
  if (num_held_out_windows() < 1)
    fail(ErrorCode::kConfig, "{} holds less than one window of {} tokens", recipe.data.valid,
         recipe.data.sequence_length);
  nn::initialise(decoder_.parameters(), recipe.model, recipe.seed, recipe.initial_scale);
  if (mesh_ != nullptr && mesh_->experts() != nullptr) {
    experts_.emplace(*mesh_->experts());
    for (auto& [name, tensor] : decoder_.parameters())
      if (nn::is_expert_parameter(name)) tensor = experts_->share_of(tensor).clone();
  }
  for (auto& [name, tensor] : decoder_.parameters()) tensor = tensor.to(device_);
  decoder_.set_requires_grad(true);
}

at::Tensor LmTask::batch(const TokenStream& stream, std::span<const std::int64_t> starts) const {
  const int length = recipe_.data.sequence_length + 1;
  at::Tensor ids_BT =
      torch::empty({static_cast<std::int64_t>(starts.size()), length}, torch::kLong);
  std::int64_t* out = ids_BT.data_ptr<std::int64_t>();
  for (const std::int64_t start : starts) {
    const auto window =
        stream.ids().subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(length));
    out = std::copy(window.begin(), window.end(), out);
  }
  return ids_BT.to(device_);
}

/// Forward over all ids of the windows but the last, scored against all but the first.
nn::ForwardResult LmTask::score(const at::Tensor& ids_BT, bool training) {
  const std::int64_t length = ids_BT.size(1) - 1;
  nn::ForwardOptions options{.record_routing = true, .targets_BT = ids_BT.narrow(1, 1, length)};
  if (recipe_.data.document_mask)
    options.documents_BT = documents_of(ids_BT.narrow(1, 0, length), end_token_of(recipe_.model));
  options.experts = experts_ ? &*experts_ : nullptr;
  if (training) {
    options.ranks = mesh_ == nullptr ? nullptr : &mesh_->world();
    options.balance_scope = recipe_.balance.scope;
    options.earlier_rows = &step_load_;
    options.quantile_shift = recipe_.balance.bias == train::BiasUpdate::kQuantile;
    options.recompute = recipe_.trainer.recompute;
  }
  return decoder_.forward(ids_BT.narrow(1, 0, length), options);
}

void LmTask::note_routing(const std::vector<nn::RouterRecord>& routing) {
  for (const auto& record : routing) {
    auto& rows = step_load_[record.layer];
    rows.resize(record.rows_per_expert.size());
    for (std::size_t e = 0; e < rows.size(); ++e) rows[e] += record.rows_per_expert[e];
    if (!record.bias_shift_N.defined()) continue;
    at::Tensor& shift = step_shift_[record.layer];
    const at::Tensor part = record.bias_shift_N / recipe_.trainer.micro_batches;
    shift = shift.defined() ? shift + part : part;
  }
}

void LmTask::after_step() {
  const double rate = recipe_.balance.rate();
  for (const auto& [layer, rows] : step_load_) {
    const auto found = decoder_.parameters().find(fmt::format("layers.{}.moe.router_bias", layer));
    if (found == decoder_.parameters().end()) return;
    if (recipe_.balance.bias == train::BiasUpdate::kSign)
      nn::step_bias_by_sign(found->second, rows, rate);
    if (recipe_.balance.bias == train::BiasUpdate::kQuantile)
      nn::step_bias_by_shift(found->second, step_shift_.at(layer), rate);
  }
}

double LmTask::flops_per_token() const {
  const AttentionConfig& a = recipe_.model.attention;
  // A token sees half of the sequence on average, once for scores and once for values.
  const double context = static_cast<double>(recipe_.model.num_layers) * a.num_heads * a.head_dim *
                         recipe_.data.sequence_length;
  // Two operations a multiply-add; the backward does two products for each of the forward's.
  return 6 * (account_of(recipe_.model).macs_per_token + context);
}

train::LossResult LmTask::training_loss(std::int64_t step, int micro_batch) {
  const Stopwatch watch;
  if (micro_batch == 0) {
    step_load_.clear();
    step_shift_.clear();
  }
  const std::int64_t size = recipe_.data.batch_size;
  const std::int64_t first = (step * recipe_.trainer.micro_batches + micro_batch) * size;
  std::vector<std::int64_t> starts;
  for (std::int64_t i = 0; i < size; ++i) starts.push_back(order_.start(first + i));
  const auto own = own_share(starts);
  const at::Tensor ids_BT = batch(train_, own);
  const std::int64_t length = recipe_.data.sequence_length;
  train::LossResult result;
  result.data_seconds = watch.elapsed().wall;
  auto out = score(ids_BT, /*training=*/true);
  note_routing(out.routing);
  const at::Tensor& lm_loss = out.cross_entropy;
  result.loss = lm_loss;
  result.share = static_cast<double>(own.size()) / static_cast<double>(size);
  result.num_tokens = ids_BT.size(0) * length;
  result.routing = std::move(out.routing);
  if (recipe_.model.has_moe()) {
    result.loss = lm_loss + recipe_.model.moe.balance_loss * out.balance_loss +
                  recipe_.model.moe.z_loss * out.z_loss;
    result.metrics["lm_loss"] = lm_loss.item<double>();
    result.metrics["balance_loss"] = out.balance_loss.item<double>();
    result.metrics["z_loss"] = out.z_loss.item<double>();
  }
  if (experts_) count_traffic(result);
  return result;
}

bool LmTask::is_split(const std::string& name) const { return nn::is_expert_parameter(name); }

std::span<const std::int64_t> LmTask::own_share(std::span<const std::int64_t> starts) const {
  if (mesh_ == nullptr) return starts;
  const auto rank = static_cast<std::size_t>(mesh_->world().rank());
  const auto size = static_cast<std::size_t>(mesh_->world().size());
  const std::size_t first = starts.size() * rank / size;
  return starts.subspan(first, starts.size() * (rank + 1) / size - first);
}

void LmTask::count_traffic(train::LossResult& result) {
  const nn::ExpertTraffic& now = experts_->traffic();
  result.totals["expert_bytes"] = static_cast<double>(now.moved - counted_.moved);
  result.totals["expert_bytes_of_whole_rows"] =
      static_cast<double>(now.whole_rows - counted_.whole_rows);
  counted_ = now;
}

std::int64_t LmTask::num_held_out_windows() const {
  return (static_cast<std::int64_t>(valid_.ids().size()) - 1) / recipe_.data.sequence_length;
}

std::map<std::string, double> LmTask::evaluate() {
  const torch::NoGradGuard no_grad;
  const std::int64_t length = recipe_.data.sequence_length;
  const std::int64_t windows = num_held_out_windows();
  const std::int64_t wanted = std::min<std::int64_t>(
      windows, std::int64_t{recipe_.data.eval_batches} * recipe_.data.batch_size);
  double sum = 0;
  nn::LayerLoad load;
  for (std::int64_t first = 0; first < wanted; first += recipe_.data.batch_size) {
    std::vector<std::int64_t> starts;
    // Spread over the whole file, so that every domain is in.
    for (std::int64_t i = first;
         i < std::min<std::int64_t>(wanted, first + recipe_.data.batch_size); ++i)
      starts.push_back(i * windows / wanted * length);
    const auto own = own_share(starts);
    // Who has none computes one that does not count: experts are shared, so all must come.
    const at::Tensor ids_BT = batch(valid_, own.empty() ? std::span(starts).first(1) : own);
    const auto out = score(ids_BT, /*training=*/false);
    sum += out.cross_entropy.item<double>() * static_cast<double>(own.size());
    for (const auto& record : out.routing) {
      auto& rows = load[record.layer];
      rows.resize(record.rows_per_expert.size());
      for (std::size_t e = 0; e < rows.size() && !own.empty(); ++e)
        rows[e] += record.rows_per_expert[e];
    }
  }
  if (mesh_ != nullptr) {
    mesh_->world().sum(std::span(&sum, 1));
    for (auto& [layer, rows] : load) mesh_->world().sum(rows);
  }
  if (experts_) counted_ = experts_->traffic();
  const double loss = sum / static_cast<double>(wanted);
  const double bytes_per_token =
      static_cast<double>(valid_.num_bytes()) / static_cast<double>(valid_.ids().size());
  std::map<std::string, double> result{
      {"loss", loss}, {"bits_per_byte", loss / std::numbers::ln2 / bytes_per_token}};
  for (const auto& [layer, rows] : load) {
    const LoadStatistics s = load_statistics(rows);
    result["load_max"] = std::max(result["load_max"], s.max_over_mean);
    auto [low, fresh] = result.try_emplace("load_min", s.min_over_mean);
    if (!fresh) low->second = std::min(low->second, s.min_over_mean);
    result["load_entropy"] += s.relative_entropy / static_cast<double>(load.size());
  }
  return result;
}

void LmTask::save_model(const fs::path& path, DType dtype) {
  nn::Parameters whole = decoder_.parameters();
  if (experts_)
    for (auto& [name, tensor] : whole)
      if (is_split(name)) tensor = experts_->whole_of(tensor);
  if (mesh_ != nullptr && !mesh_->world().is_first()) return;
  SaveOptions options;
  options.dtype = dtype;
  options.tokenizer_from = recipe_.data.tokenizer;
  save_hf_directory(path, recipe_.model, nn::provider_of(std::move(whole)), options);
}

void LmTask::load_model(const fs::path& path) {
  const ModelFiles files = open_model(path);
  // The file's description lacks what matters only in training; compare what shapes the model.
  if (weight_specs(files.config) != weight_specs(recipe_.model))
    fail(ErrorCode::kShape, "{} does not fit the recipe's model", path.string());
  const torch::NoGradGuard no_grad;
  if (!experts_) return decoder_.load(files);
  nn::Decoder whole(recipe_.model);
  whole.load(files);
  for (auto& [name, tensor] : decoder_.parameters())
    tensor.copy_(is_split(name) ? experts_->share_of(whole.parameters().at(name))
                                : whole.parameters().at(name));
}

}  // namespace talpa::lm
