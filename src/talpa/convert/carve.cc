// F neurons of a layer, N experts of M neurons each, D model width.
#include "talpa/convert/carve.h"

#include <torch/types.h>

#include <bit>
#include <cstring>

#include "talpa/base/file.h"
#include "talpa/base/log.h"
#include "talpa/base/progress.h"
#include "talpa/base/stopwatch.h"
#include "talpa/convert/balanced_kmeans.h"
#include "talpa/convert/read_tensor.h"
#include "talpa/model/hf_names.h"

namespace talpa::convert {

namespace {

constexpr double kLargestF16 = 65504;

DType exact_type(const ModelFiles& model) {
  const DType first = model.weights.begin()->second.dtype();
  if (first != DType::kF16 && first != DType::kBF16) return DType::kF32;
  for (const auto& [name, weight] : model.weights)
    if (weight.dtype() != first) return DType::kF32;
  return first;
}

/// Rows of the gate at length one; rows of zeros stay.
at::Tensor scaled_rows(const at::Tensor& gate_FD) {
  return gate_FD / gate_FD.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-12);
}

/// Carves one layer at a time, as the writer asks for its tensors.
class Carver {
 public:
  Carver(const ModelFiles& model, const CarveOptions& options, CarveReport& report)
      : model_(model),
        options_(options),
        report_(report),
        progress_("carving", model.config.num_layers) {}

  void provide(const WeightSpec& spec, float* target) {
    const WeightName name = split_weight_name(spec.name);
    if (name.layer < 0 || !name.role.starts_with("moe.")) {
      model_.at(spec.name).read(target);
      return;
    }
    if (name.layer != layer_) split_layer(name.layer);
    const at::Tensor values = tensor(name.role).contiguous();
    if (values.sizes().vec() != spec.shape)
      fail(ErrorCode::kInternal, "{} has shape {}, expected {}", spec.name,
           to_string(values.sizes().vec()), to_string(spec.shape));
    std::memcpy(target, values.const_data_ptr<float>(), values.nbytes());
  }

 private:
  at::Tensor dense(const char* name) const {
    return read_tensor(model_.at(fmt::format("layers.{}.ffn.{}", layer_, name)));
  }

  /// Finds the order of neurons that lays every expert's one after another, ascending.
  void split_layer(int layer) {
    layer_ = layer;
    const at::Tensor rows_FD = scaled_rows(dense("gate"));
    std::vector<std::int64_t> expert_F(static_cast<std::size_t>(rows_FD.size(0)));
    for (std::size_t f = 0; f < expert_F.size(); ++f)
      expert_F[f] = static_cast<std::int64_t>(f) / report_.expert_dim;
    if (options_.split == NeuronSplit::kKMeans)
      expert_F = balanced_kmeans(rows_FD, options_.num_experts,
                                 Random(options_.seed, fmt::format("carve:{}", layer)))
                     .cluster_P;
    report_.explained.push_back(explained_share(rows_FD, expert_F, options_.num_experts));
    order_F_ = torch::tensor(expert_F, torch::kLong).argsort(/*stable=*/true, 0);
    progress_.update(layer + 1, fmt::format("explained {:.3f}", report_.explained.back()));
  }

  at::Tensor tensor(std::string_view role) const {
    const std::int64_t n = options_.num_experts, dim = model_.config.dim;
    if (role == "moe.router") return torch::zeros({n, dim});
    if (role == "moe.gate") return dense("gate").index_select(0, order_F_).view({n, -1, dim});
    if (role == "moe.up") return dense("up").index_select(0, order_F_).view({n, -1, dim});
    if (role != "moe.down") fail(ErrorCode::kInternal, "a carved model has no {}", role);
    const at::Tensor down_DF = dense("down").index_select(1, order_F_) * static_cast<double>(n);
    if (report_.dtype == DType::kF16 && down_DF.abs().max().item<double>() > kLargestF16)
      fail(ErrorCode::kConfig, "layer {}: down times {} leaves the range of f16; use bf16 or f32",
           layer_, n);
    return down_DF.view({dim, n, -1}).permute({1, 0, 2});
  }

  const ModelFiles& model_;
  const CarveOptions& options_;
  CarveReport& report_;
  Progress progress_;
  int layer_ = -1;
  at::Tensor order_F_;
};

}  // namespace

DecoderConfig carved_config(const DecoderConfig& dense, int num_experts) {
  if (dense.has_moe())
    fail(ErrorCode::kUnsupported, "the model has experts already; only dense models are carved");
  if (num_experts < 2 || !std::has_single_bit(static_cast<unsigned>(num_experts)))
    fail(ErrorCode::kConfig,
         "{} experts: with all experts on, their number is to be a power of two above one, or "
         "weights would be rounded",
         num_experts);
  if (dense.ffn_dim % num_experts != 0)
    fail(ErrorCode::kConfig, "{} experts do not divide the feed-forward's width of {}", num_experts,
         dense.ffn_dim);
  DecoderConfig carved = dense;
  carved.family = dense.family == Family::kLlama ? Family::kMixtral : Family::kTalpa;
  carved.ffn_dim = 0;
  carved.moe = {};
  carved.moe.num_experts = carved.moe.top_k = num_experts;
  carved.moe.hidden_dim = dense.ffn_dim / num_experts;
  carved.moe.normalize_top_k = true;
  return carved;
}

CarveReport carve_all_on(const ModelFiles& model, const std::filesystem::path& output,
                         const CarveOptions& options) {
  const Stopwatch stopwatch;
  const DecoderConfig carved = carved_config(model.config, options.num_experts);
  CarveReport report;
  report.num_experts = options.num_experts;
  report.expert_dim = carved.moe.hidden_dim;
  report.split = options.split;
  report.dtype = options.dtype.value_or(exact_type(model));
  SaveOptions save;
  save.dtype = report.dtype;
  save.overwrite = options.overwrite;
  save.tokenizer_from = options.tokenizer;
  if (save.tokenizer_from.empty() && model.format == "hf") save.tokenizer_from = model.path;
  Carver carver(model, options, report);
  save_hf_directory(
      output, carved, [&](const WeightSpec& spec, float* target) { carver.provide(spec, target); },
      save);
  report.seconds = stopwatch.elapsed().wall;
  write_text(output / "carving.json", report.to_json().dump(2) + "\n");
  if (save.tokenizer_from.empty())
    log::warn("{} has no tokenizer: a GGUF's is not copied; --tokenizer names one",
              output.string());
  return report;
}

Json CarveReport::to_json() const {
  return {{"num_experts", num_experts}, {"expert_dim", expert_dim}, {"split", enum_name(split)},
          {"dtype", name_of(dtype)},    {"explained", explained},   {"seconds", seconds}};
}

}  // namespace talpa::convert
