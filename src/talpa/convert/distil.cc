// T rows, D model width.
#include "talpa/convert/distil.h"

#include <torch/torch.h>

#include "talpa/base/progress.h"
#include "talpa/base/stopwatch.h"
#include "talpa/base/temporary_folder.h"
#include "talpa/convert/tensor_file.h"
#include "talpa/nn/feed_forward.h"
#include "talpa/nn/moe/moe_layer.h"

namespace talpa::convert {

namespace {

constexpr int kStepsBetweenLooks = 20;
constexpr std::int64_t kAsideShare = 10;  ///< one row in so many is kept aside
constexpr double kBeta1 = 0.9, kBeta2 = 0.95, kEpsilon = 1e-10;

bool is_trained(const std::string& name) {
  return name.find(".moe.") != std::string::npos && !name.ends_with(".router") &&
         !name.ends_with("_pivot");
}

/// One layer's experts, trained to put out `wanted_TD` for `rows_TD`.
class LayerDistillation {
 public:
  LayerDistillation(nn::Parameters& parameters, const std::string& prefix, const MoeConfig& config,
                    const DistilOptions& options)
      : parameters_(parameters), layer_(parameters, prefix), config_(config), options_(options) {
    for (auto& [name, tensor] : parameters_)
      if (is_trained(name)) names_.push_back(name);
  }

  /// Shares of the error before and after.
  std::pair<double, double> run(const at::Tensor& rows_TD, const at::Tensor& wanted_TD) {
    const std::int64_t total = rows_TD.size(0),
                       aside = std::max<std::int64_t>(1, total / kAsideShare);
    auto generator = at::make_generator<at::CPUGeneratorImpl>(options_.seed);
    const at::Tensor order_T = torch::randperm(total, generator, torch::kLong);
    const at::Tensor aside_T = order_T.narrow(0, 0, aside);
    const at::Tensor used_T = order_T.narrow(0, aside, total - aside);
    const at::Tensor aside_rows = rows_TD.index_select(0, aside_T);
    const at::Tensor aside_wanted = wanted_TD.index_select(0, aside_T);
    best_ = before_ = error(aside_rows, aside_wanted);
    begin();
    for (int step = 0; step < options_.steps && used_T.size(0) > 0; ++step) {
      if (options_.cancelled != nullptr && *options_.cancelled)
        fail(ErrorCode::kInterrupted, "interrupted: the refit is not kept");
      const at::Tensor pick = torch::randint(
          used_T.size(0), {std::min(options_.batch_rows, used_T.size(0))}, generator, torch::kLong);
      const at::Tensor batch_T = used_T.index_select(0, pick);
      take_step(step, rows_TD.index_select(0, batch_T), wanted_TD.index_select(0, batch_T));
      if ((step + 1) % kStepsBetweenLooks == 0 || step + 1 == options_.steps)
        look(aside_rows, aside_wanted);
    }
    for (const std::string& name : names_) parameters_[name] = best_tensors_.at(name);
    return {before_, best_};
  }

 private:
  void begin() {
    for (const std::string& name : names_) {
      at::Tensor& tensor = parameters_[name];
      best_tensors_[name] = tensor.clone();
      rate_[name] = options_.learning_rate * tensor.square().mean().sqrt().item<double>();
      mean_[name] = torch::zeros_like(tensor);
      square_[name] = torch::zeros_like(tensor);
      tensor.requires_grad_(true);
    }
  }

  double error(const at::Tensor& rows_TD, const at::Tensor& wanted_TD) const {
    const torch::NoGradGuard no_grad;
    const at::Tensor y_TD = nn::moe_layer(rows_TD, layer_, config_).y_TD;
    return ((y_TD - wanted_TD).square().sum() / wanted_TD.square().sum().clamp_min(1e-30))
        .item<double>();
  }

  void take_step(int step, const at::Tensor& rows_TD, const at::Tensor& wanted_TD) {
    const torch::AutoGradMode with_grad(true);
    const at::Tensor y_TD = nn::moe_layer(rows_TD, layer_, config_).y_TD;
    const at::Tensor loss =
        (y_TD - wanted_TD).square().sum() / wanted_TD.square().sum().clamp_min(1e-30);
    loss.backward();
    const torch::NoGradGuard no_grad;
    const double falling = 1 - static_cast<double>(step) / options_.steps;
    for (const std::string& name : names_) {
      at::Tensor& tensor = parameters_[name];
      at::Tensor gradient = tensor.grad();
      if (!gradient.defined()) continue;
      std::vector<at::Tensor> values = {tensor}, slopes = {gradient}, means = {mean_[name]},
                              squares = {square_[name]},
                              steps = {torch::full({}, step + 1, torch::kFloat)};
      at::_fused_adamw_(values, slopes, means, squares, {}, steps, rate_[name] * falling, kBeta1,
                        kBeta2, /*weight_decay=*/0, kEpsilon, /*amsgrad=*/false,
                        /*maximize=*/false);
      gradient.zero_();
    }
  }

  void look(const at::Tensor& rows_TD, const at::Tensor& wanted_TD) {
    const double now = error(rows_TD, wanted_TD);
    if (!(now < best_)) return;
    best_ = now;
    const torch::NoGradGuard no_grad;
    for (const std::string& name : names_) best_tensors_[name].copy_(parameters_[name]);
  }

  nn::Parameters& parameters_;
  const nn::Scope layer_;
  const MoeConfig& config_;
  const DistilOptions& options_;
  std::vector<std::string> names_;
  nn::Parameters best_tensors_, mean_, square_;
  std::map<std::string, double> rate_;
  double before_ = 0, best_ = 0;
};

void check_alike(const DecoderConfig& a, const DecoderConfig& b) {
  if (a.dim != b.dim || a.num_layers != b.num_layers || a.vocab_size != b.vocab_size)
    fail(ErrorCode::kShape,
         "the original has {} layers of width {} and {} tokens, the converted model {}, {} and {}",
         a.num_layers, a.dim, a.vocab_size, b.num_layers, b.dim, b.vocab_size);
}

at::Tensor joined(const std::vector<LayerStream::Halfway>& batches,
                  at::Tensor LayerStream::Halfway::*part) {
  std::vector<at::Tensor> rows;
  for (const auto& batch : batches) rows.push_back(batch.*part);
  return torch::cat(rows);
}

/// The student's way through the model, layer by layer; what it learns is kept.
class Distillation {
 public:
  Distillation(const ModelFiles& original, const ModelFiles& converted,
               const std::vector<TokenSequence>& sequences, const DistilOptions& options,
               const std::filesystem::path& output)
      : converted_(converted),
        options_(options),
        folder_(output, ".refit"),
        teacher_(original, sequences, options.batch_tokens),
        student_(converted, sequences, options.batch_tokens) {}

  DistilReport run() {
    const Stopwatch watch;
    const DecoderConfig& config = converted_.config;
    Progress progress("refitting", config.num_layers);
    DistilReport report;
    for (int layer = 0; layer < config.num_layers; ++layer) {
      const Stopwatch one;
      teacher_.advance({});
      const auto errors = pass_layer(layer);
      if (config.is_moe_layer(layer))
        report.layers.push_back({layer, errors.first, errors.second, one.elapsed().wall});
      progress.update(layer + 1);
    }
    report.seconds = watch.elapsed().wall;
    return report;
  }

  void provide(const WeightSpec& spec, float* target) const {
    const auto found = learnt_.find(spec.name);
    if (found == learnt_.end()) return converted_.at(spec.name).read(target);
    to_float(found->second.dtype, found->second.bytes.data(), target, num_elements(spec.shape));
  }

 private:
  std::pair<double, double> pass_layer(int layer) {
    const DecoderConfig& config = converted_.config;
    const std::string prefix = fmt::format("layers.{}.", layer);
    nn::Parameters parameters = student_.read_layer();
    const nn::Scope scope(parameters, prefix);
    const auto batches = student_.halfway(scope);
    std::pair<double, double> errors = {0, 0};
    if (config.is_moe_layer(layer)) {
      const at::Tensor attended_TD = joined(batches, &LayerStream::Halfway::attended_TD);
      errors = LayerDistillation(parameters, prefix, config.moe, options_)
                   .run(joined(batches, &LayerStream::Halfway::rows_TD),
                        teacher_.states_TD() - attended_TD);
      keep(layer, parameters);
    }
    const torch::NoGradGuard no_grad;
    std::vector<at::Tensor> states;
    for (const auto& batch : batches)
      states.push_back(batch.attended_TD +
                       (config.is_moe_layer(layer)
                            ? nn::moe_layer(batch.rows_TD, scope, config.moe).y_TD
                            : nn::feed_forward(batch.rows_TD, scope.in("ffn"))));
    student_.finish_layer(states);
    return errors;
  }

  /// On disk: the experts of all layers in fp32 may be more than fits into memory.
  void keep(int layer, const nn::Parameters& parameters) {
    NamedTensors learnt;
    for (const auto& [name, tensor] : parameters)
      if (is_trained(name)) learnt[name] = tensor;
    const auto path = folder_ / fmt::format("layer-{}.safetensors", layer);
    save_tensors(path, learnt);
    kept_.push_back(open_safetensors(path));
    for (const auto& [name, view] : kept_.back()->tensors()) learnt_[name] = view;
  }

  const ModelFiles& converted_;
  const DistilOptions& options_;
  const TemporaryFolder folder_;
  LayerStream teacher_, student_;
  std::vector<std::shared_ptr<TensorStore>> kept_;
  std::map<std::string, TensorView> learnt_;  ///< in kept_
};

}  // namespace

DistilReport distil(const ModelFiles& original, const ModelFiles& converted,
                    std::vector<TokenSequence> sequences, const std::filesystem::path& output,
                    const DistilOptions& options) {
  check_alike(original.config, converted.config);
  if (std::filesystem::exists(output) && !options.overwrite)
    fail(ErrorCode::kUsage, "{} exists already", output.string());
  Distillation distillation(original, converted, sequences, options, output);
  DistilReport report = distillation.run();
  save_hf_directory(
      output, converted.config,
      [&](const WeightSpec& spec, float* target) { distillation.provide(spec, target); },
      {.dtype = options.dtype,
       .overwrite = options.overwrite,
       .tokenizer_from = converted.format == "hf" ? converted.path : std::filesystem::path(),
       .metadata = {}});
  return report;
}

Json DistilReport::to_json() const {
  Json rows = Json::array();
  for (const Layer& layer : layers)
    rows.push_back({{"layer", layer.layer},
                    {"before", layer.before},
                    {"after", layer.after},
                    {"seconds", layer.seconds}});
  return {{"layers", std::move(rows)}, {"seconds", seconds}};
}

}  // namespace talpa::convert
