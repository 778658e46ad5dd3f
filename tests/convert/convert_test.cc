#include "talpa/convert/convert.h"

#include "fixtures.h"
#include "talpa/base/file.h"
#include "talpa/convert/calibrate.h"
#include "talpa/convert/read_tensor.h"
#include "talpa/convert/tensor_file.h"
#include "talpa/engine/model.h"
#include "talpa/model/accounting.h"

namespace talpa::convert {
namespace {

namespace fs = std::filesystem;

TEST(Convert, LatentModelEqualsItsMaterialisedForm) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  for (const char* factors : {"gate up", "all", "shared"}) {
    ConvertOptions options{.dtype = DType::kF32, .overwrite = true};
    options.latent.group_size = 4;
    options.latent.latent_dim = 8;
    options.latent.factor_down = std::string(factors) != "gate up";
    options.latent.share_gate_up_latent = std::string(factors) == "shared";
    convert_model(original, scratch / "mole", options);
    materialise(open_model(scratch / "mole"), scratch / "dense", DType::kF32, true);
    options.materialise = true;
    convert_model(original, scratch / "direct", options);
    const at::Tensor latent = logits_of(scratch / "mole");
    EXPECT_LT(largest_difference(latent, logits_of(scratch / "dense")), 1e-5) << factors;
    EXPECT_LT(largest_difference(latent, logits_of(scratch / "direct")), 1e-5) << factors;
    EXPECT_EQ(open_model(scratch / "dense").config.family, Family::kQwen3Moe);
  }
}

TEST(Convert, ErrorFallsWithTheLatentWidth) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  const at::Tensor exact = logits_of(scratch / "moe");
  double last_error = 1, last_difference = 1e9;
  for (const int width : {4, 10, 20}) {
    ConvertOptions options{.dtype = DType::kF32, .overwrite = true};
    options.latent.latent_dim = width;
    const ConversionReport report = convert_model(original, scratch / "mole", options);
    const double difference = largest_difference(logits_of(scratch / "mole"), exact);
    EXPECT_LT(report.relative_error, last_error);
    EXPECT_LT(difference, last_difference);
    last_error = report.relative_error;
    last_difference = difference;
  }
}

TEST(Convert, BudgetIsKept) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  for (const double budget : {0.9, 0.75, 0.6}) {
    ConvertOptions options{.budget = budget, .overwrite = true};
    const ConversionReport report = convert_model(original, scratch / "mole", options);
    EXPECT_LE(report.expert_share, budget);
    EXPECT_GT(report.expert_share, budget - 0.25);
    const Account account = account_of(open_model(scratch / "mole").config);
    EXPECT_EQ(account.expert_params, report.expert_params_after);
    EXPECT_TRUE(fs::exists(scratch / "mole" / "conversion.json"));
  }
}

TEST(Convert, RefusesWhatCannotBe) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options;
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "o", options), kUsage, "budget");
  options.budget = 0.01;
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "o", options), kConfig, "no latent width");
  options.budget = 0.5;
  options.latent.latent_dim = 8;
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "o", options), kUsage, "not both");
  options.budget = 0;
  options.latent.group_size = 1;
  options.latent.latent_dim = 32;
  EXPECT_THROW(convert_model(original, scratch / "o", options), Error);
  options.method = "nope";
  EXPECT_THROW(convert_model(original, scratch / "o", options), Error);
  EXPECT_FALSE(fs::exists(scratch / "o"));
}

/// A calibration of a random model on random tokens.
fs::path calibrated(const ModelFiles& model, const fs::path& path) {
  torch::manual_seed(7);
  std::vector<TokenSequence> sequences;
  for (int i = 0; i < 40; ++i) {
    const at::Tensor ids = torch::randint(0, 64, {24}, torch::kInt);
    sequences.emplace_back(ids.data_ptr<std::int32_t>(), ids.data_ptr<std::int32_t>() + 24);
  }
  calibrate(model, sequences, path, {.overwrite = true});
  return path;
}

ConvertOptions options_for(const Method& method, const fs::path& calibration) {
  ConvertOptions options{.method = method.name(),
                         .budget = 0.7,
                         .calibration = calibration,
                         .dtype = DType::kF32,
                         .overwrite = true};
  return options;
}

TEST(Convert, EveryClosedFormMethodMakesAModelThatRuns) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  const fs::path calibration = calibrated(original, scratch / "c.safetensors");
  const at::Tensor exact = logits_of(scratch / "moe");
  const double scale = exact.abs().max().item<double>();
  for (const Method* method : methods()) {
    if (method->is_iterative() || std::string(method->name()) == "none") continue;
    SCOPED_TRACE(method->name());
    const ConvertOptions options = options_for(*method, calibration);
    const ConversionReport report = convert_model(original, scratch / "out", options);
    const double difference = largest_difference(logits_of(scratch / "out"), exact);
    EXPECT_GT(difference, 0);
    EXPECT_LT(difference, 2 * scale);
    EXPECT_LE(report.expert_share, 0.7);
    EXPECT_GT(report.expert_share, 0.3);
    ASSERT_TRUE(report.weighted_error.has_value());
    EXPECT_LT(*report.weighted_error, 1);
    const Json json = read_json(scratch / "out" / "conversion.json");
    EXPECT_EQ(json.at("expert_bytes"), 4 * report.expert_params_after);
    EXPECT_EQ(json.at("projections").size(), report.projections.size());
    EXPECT_GE(report.projections.size(), 4u);
    const bool as_counted =
        account_of(open_model(scratch / "out").config).expert_params == report.expert_params_after;
    const std::string name = method->name();
    EXPECT_EQ(as_counted, name != "merge" && name != "delta");
  }
}

struct AllocatedMethod {
  std::string name;
  double budget = 0;
  LatentConfig latent;
  bool calibrated = false;
};
class AllocatedWidths : public ::testing::TestWithParam<AllocatedMethod> {};

TEST_P(AllocatedWidths, GoToLayersThatNeedThem) {
  const testing::Scratch scratch;
  DecoderConfig config = small_moe();
  config.dim = 64;
  config.moe.hidden_dim = 32;
  nn::Decoder decoder(config);
  decoder.initialise(3);
  {
    const torch::NoGradGuard no_grad;  // inputs of the first layer's experts have rank 3
    for (const char* name : {"layers.0.moe.gate", "layers.0.moe.up"}) {
      at::Tensor experts_NMD = decoder.parameters().at(name);
      const at::Tensor rank_3 = torch::randn({3, config.dim});
      experts_NMD.copy_(torch::randn({config.moe.num_experts, config.moe.hidden_dim, 3})
                            .matmul(rank_3)
                            .mul(0.02));
    }
  }
  save_hf_directory(scratch / "moe", decoder.config(), decoder.provider(), {.dtype = DType::kF32});
  const ModelFiles original = open_model(scratch / "moe");
  ConvertOptions options{.method = GetParam().name,
                         .latent = GetParam().latent,
                         .budget = GetParam().budget,
                         .dtype = DType::kF32};
  if (method_named(options.method).is_iterative()) options.steps = 30;
  if (GetParam().calibrated) options.calibration = calibrated(original, scratch / "c.safetensors");
  const auto error_of = [](const ConversionReport& report) {
    return report.weighted_error.value_or(report.relative_error);
  };
  const ConversionReport even = convert_model(original, scratch / "even", options);
  options.allocate = true;
  const ConversionReport report = convert_model(original, scratch / "spread", options);
  EXPECT_LE(report.expert_share, options.budget);
  EXPECT_GT(report.expert_share, options.budget - 0.1);
  ASSERT_EQ(report.latent.latent_dims.size(), static_cast<std::size_t>(config.num_layers));
  EXPECT_LT(report.latent.latent_dims[0], report.latent.latent_dims[1]);
  EXPECT_EQ(report.latent.basis_ranks.empty(), report.latent.basis_rank == 0);
  EXPECT_EQ(report.latent.down_latent_dims.empty(), !GetParam().calibrated);
  EXPECT_LT(report.expert_share, even.expert_share + 0.06);
  EXPECT_LT(error_of(report), 0.95 * error_of(even));
  const ModelFiles spread = open_model(scratch / "spread");
  EXPECT_EQ(spread.config.moe.latent, report.latent);
  EXPECT_EQ(account_of(spread.config).expert_params, report.expert_params_after);
  materialise(spread, scratch / "dense", DType::kF32, true);
  EXPECT_LT(largest_difference(logits_of(scratch / "spread"), logits_of(scratch / "dense")), 1e-5);
  save_gguf(scratch / "spread.gguf", spread.config,
            [&](const WeightSpec& spec, float* values) { spread.at(spec.name).read(values); },
            {.dtype = DType::kF32});
  EXPECT_EQ(open_model(scratch / "spread.gguf").config.moe.latent, report.latent);
  std::vector<std::vector<float>> logits;
  for (const ExpertForm form : {ExpertForm::kLatent, ExpertForm::kDense}) {
    const auto model = Model::load(spread, {.weights = DType::kF32, .experts = form, .threads = 1});
    KvCache cache(*model, 8);
    const std::vector<TokenId> tokens = {3, 14, 15, 9, 2, 6};
    logits.push_back(
        model->forward(std::vector<SequenceInput>{{&cache, tokens, LogitsWanted::kAll}}));
  }
  for (std::size_t i = 0; i < logits[0].size(); ++i)
    ASSERT_NEAR(logits[0][i], logits[1][i], 1e-4) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Methods, AllocatedWidths,
    ::testing::Values(AllocatedMethod{"svd", 0.7},
                      AllocatedMethod{"mobe", 0.6, {.group_size = 4, .factor_down = true}},
                      AllocatedMethod{"slbf-plus", 0.7, {.factor_down = true}},
                      AllocatedMethod{"tucker2", 0.65, {}, true},
                      AllocatedMethod{"slbf-plus", 0.7, {.factor_down = true}, true}),
    [](const auto& info) { return fmt::format("case_{}", info.index); });

TEST(Convert, SizesByLayerGoOnFromTheSpectraInTheScratchFolder) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{.method = "slbf-plus",
                         .latent = {.factor_down = true},
                         .budget = 0.6,
                         .allocate = true,
                         .calibration = calibrated(original, scratch / "c.safetensors"),
                         .steps = 20,
                         .scratch = scratch / "work",
                         .dtype = DType::kF32};
  options.on_layer = [](int, const auto&) { fail(ErrorCode::kInterrupted, "stopped"); };
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "out", options), kInterrupted, "stopped");
  EXPECT_FALSE(fs::exists(scratch / "out"));
  for (const char* file : {"layer-0/fit.json", "layer-1/spectra.safetensors"})
    EXPECT_TRUE(fs::exists(scratch / "work" / file)) << file;
  options.on_layer = nullptr;
  const ConversionReport resumed = convert_model(original, scratch / "out", options);
  options.scratch.clear();
  const ConversionReport whole = convert_model(original, scratch / "whole", options);
  EXPECT_EQ(resumed.latent, whole.latent);
  EXPECT_EQ(read_text(scratch / "out" / "model.safetensors"),
            read_text(scratch / "whole" / "model.safetensors"));
  options.scratch = scratch / "work";
  save_tensors(scratch / "work" / "layer-1" / "spectra.safetensors",
               {{"apart", torch::zeros({2})}});
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "broken", options), kFormat,
                     "spectra.safetensors lacks apart");
  options.allocate = false;
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "even", options), kUsage, "other options");
}

TEST(Convert, WidthsThatCannotBeGivenToLayersAreRefused) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{
      .latent = {.latent_dim = 4}, .allocate = true, .scratch = scratch / "work"};
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "none", options), kConfig, "layers need");
  EXPECT_FALSE(fs::exists(scratch / "work"));
  options.scratch.clear();
  options.latent.latent_dim = 0;
  options.budget = 0.7;
  options.method = "prune";
  options.calibration = calibrated(original, scratch / "c.safetensors");
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "none", options), kUsage,
                     "no latent widths");
}

TEST(Convert, CalibrationMustBeThereAndFit) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  const ModelFiles other = open_model(save_random(scratch / "other", 4));
  for (const char* method : {"svd-whitened", "prune"}) {
    ConvertOptions options{.method = method, .budget = 0.7};
    EXPECT_TALPA_ERROR(convert_model(original, scratch / "o", options), kUsage, "talpa calibrate");
    options.calibration = calibrated(other, scratch / "c.safetensors");
    EXPECT_TALPA_ERROR(convert_model(original, scratch / "o", options), kUsage, "another model");
  }
  const ConvertOptions steps{.method = "svd", .budget = 0.7, .steps = 10};
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "o", steps), kUsage, "no iterative");
  EXPECT_FALSE(fs::exists(scratch / "o"));
}

TEST(Convert, MaterialisedGroupsByOverlapAreThoseOfTheLatentModel) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{.group_by = GroupBy::kOverlap, .dtype = DType::kF32, .overwrite = true};
  options.latent.group_size = 2;
  options.latent.latent_dim = 8;
  convert_model(original, scratch / "mole", options);
  options.materialise = true;
  convert_model(original, scratch / "dense", options);
  EXPECT_EQ(open_model(scratch / "dense").config.family, Family::kQwen3Moe);
  EXPECT_LT(largest_difference(logits_of(scratch / "mole"), logits_of(scratch / "dense")), 1e-5);
}

/// A random model whose selection bias chooses experts 2 and 5 of 8 for every token.
fs::path save_biased(const fs::path& path) {
  DecoderConfig config = small_moe();
  config.family = Family::kTalpa;
  config.moe.selection_bias = true;
  nn::Decoder decoder(config);
  decoder.initialise(3);
  for (auto& [name, tensor] : decoder.parameters())
    if (name.ends_with("router_bias"))
      for (int e = 0; e < 8; ++e) tensor[e] = e == 2 || e == 5 ? 10 + e : -e;
  save_hf_directory(path, config, decoder.provider(), {.dtype = DType::kF32});
  return path;
}

TEST(Convert, CalibrationAndPruningFollowASelectionBias) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_biased(scratch / "moe"));
  ConvertOptions options{.method = "prune", .dtype = DType::kF32};
  options.calibration = calibrated(original, scratch / "c.safetensors");
  options.num_experts = 2;
  convert_model(original, scratch / "two", options);
  const ModelFiles pruned = open_model(scratch / "two");
  const at::Tensor bias = read_tensor(pruned.at("layers.1.moe.router_bias"));
  EXPECT_TRUE(bias.equal(torch::tensor({12.f, 15.f})));
}

TEST(Convert, ASelectionBiasFollowsItsExpertsIntoGroups) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_biased(scratch / "moe"));
  ConvertOptions options{.group_by = GroupBy::kOverlap, .dtype = DType::kF32};
  options.latent.group_size = 2;
  options.latent.latent_dim = 8;
  convert_model(original, scratch / "mole", options);
  const ModelFiles converted = open_model(scratch / "mole");
  bool moved = false;
  for (const char* layer : {"layers.0.moe.", "layers.1.moe."}) {
    const std::string prefix = layer;
    const at::Tensor before_ND = read_tensor(original.at(prefix + "router"));
    const at::Tensor after_ND = read_tensor(converted.at(prefix + "router"));
    const at::Tensor bias_before_N = read_tensor(original.at(prefix + "router_bias"));
    const at::Tensor bias_after_N = read_tensor(converted.at(prefix + "router_bias"));
    moved = moved || !after_ND.equal(before_ND);
    for (int e = 0; e < 8; ++e) {
      int was = 0;
      while (was < 7 && !after_ND[e].equal(before_ND[was])) ++was;
      EXPECT_TRUE(bias_after_N[e].equal(bias_before_N[was])) << e;
    }
  }
  EXPECT_TRUE(moved);
}

TEST(Convert, FinishedLayersAreFoundAgain) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{.budget = 0.7, .scratch = scratch / "kept", .dtype = DType::kF32};
  const ConversionReport first = convert_model(original, scratch / "first", options);
  const fs::path kept = scratch / "kept" / "layer-1" / "fit.safetensors";
  const auto written = fs::last_write_time(kept);
  const ConversionReport second = convert_model(original, scratch / "second", options);
  EXPECT_EQ(fs::last_write_time(kept), written);
  EXPECT_EQ(second.estimated_seconds, 0);
  EXPECT_EQ(second.relative_error, first.relative_error);
  EXPECT_EQ(read_text(scratch / "first" / "model.safetensors"),
            read_text(scratch / "second" / "model.safetensors"));
  options.budget = 0.8;
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "third", options), kUsage,
                     "of other options");
}

TEST(Convert, FinishedLayersOfAnotherSizeAreNotTaken) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{.method = "merge", .scratch = scratch / "kept", .dtype = DType::kF32};
  options.num_experts = 2;
  convert_model(original, scratch / "two", options);
  options.num_experts = 6;
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "six", options), kUsage, "of other options");
}

TEST(Convert, SecondConversionIsRefused) {
  const testing::Scratch scratch;
  const ModelFiles original = open_model(save_random(scratch / "moe"));
  ConvertOptions options{.budget = 0.75};
  convert_model(original, scratch / "mole", options);
  EXPECT_TALPA_ERROR(convert_model(open_model(scratch / "mole"), scratch / "o", options),
                     kUnsupported, "latent experts already");
  EXPECT_TALPA_ERROR(convert_model(original, scratch / "mole", options), kUsage, "exists");
}

}  // namespace
}  // namespace talpa::convert
