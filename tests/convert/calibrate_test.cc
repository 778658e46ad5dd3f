// T tokens, N experts, M expert width, D model width, S rows of an expert.
#include "talpa/convert/calibrate.h"

#include "fixtures.h"
#include "talpa/convert/statistics_sum.h"
#include "talpa/nn/attention.h"
#include "talpa/nn/moe/moe_layer.h"
#include "talpa/nn/norm.h"

namespace talpa::convert {
namespace {

std::filesystem::path reference_moe() {
  return std::filesystem::path(TALPA_SOURCE_DIR) / "models" / "reference-moe";
}

/// The statistics of a layer by their definition, row by row and in fp64.
LayerStatistics by_definition(const at::Tensor& x_TD, const at::Tensor& importance_T,
                              const nn::Scope& moe, int top_k) {
  const at::Tensor router_ND = moe.at("router");
  const std::int64_t N = router_ND.size(0), D = router_ND.size(1), M = moe.at("gate").size(1);
  const auto wide = torch::TensorOptions(torch::kDouble);
  LayerStatistics s;
  s.rows_N = torch::zeros({N}, torch::kLong);
  s.mass_N = torch::zeros({N}, wide), s.mass2_N = torch::zeros({N}, wide);
  s.output_mass_N = torch::zeros({N}, wide), s.mean_output_ND = torch::zeros({N, D}, wide);
  s.gate_effect_NM = torch::zeros({N, M}, wide), s.up_effect_NM = torch::zeros({N, M}, wide);
  s.input_moments = torch::zeros({N, D, D}, wide);
  s.hidden_moments = torch::zeros({N, M, M}, wide);
  for (std::int64_t t = 0; t < x_TD.size(0); ++t) {
    const at::Tensor x_D = x_TD[t], probability_N = router_ND.mv(x_D).softmax(0);
    const auto [weight_K, chosen_K] = probability_N.topk(top_k);
    for (std::int64_t e = 0; e < N; ++e) {
      const at::Tensor gate_M = moe.at("gate")[e].mv(x_D), up_M = moe.at("up")[e].mv(x_D);
      const at::Tensor active_M = gate_M / (1 + (-gate_M).exp()), hidden_M = active_M * up_M;
      const at::Tensor y_D = moe.at("down")[e].mv(hidden_M);
      s.mean_output_ND[e] += y_D / static_cast<double>(x_TD.size(0));
      const at::Tensor is_chosen_K = chosen_K.eq(e);
      if (!is_chosen_K.any().item<bool>()) continue;
      const double w =
          weight_K.masked_select(is_chosen_K).item<double>() / weight_K.sum().item<double>();
      const double p = w * importance_T[t].item<double>();
      const at::Tensor column_M = moe.at("down")[e].square().sum(0);
      const double h = 1e-6;
      const at::Tensor rise_M = (at::silu(gate_M + h) - at::silu(gate_M - h)) / (2 * h);
      s.rows_N[e] += 1;
      s.mass_N[e] += w;
      s.mass2_N[e] += p * p;
      s.output_mass_N[e] += w * y_D.norm();
      s.gate_effect_NM[e] += p * p * (up_M * rise_M).square() * column_M;
      s.up_effect_NM[e] += p * p * active_M.square() * column_M;
      s.input_moments[e] += p * p * x_D.outer(x_D);
      s.hidden_moments[e] += p * p * hidden_M.outer(hidden_M);
    }
  }
  return s;
}

void expect_alike(const LayerStatistics& got, const LayerStatistics& expected, double tolerance) {
  EXPECT_TRUE(got.rows_N.equal(expected.rows_N));
  auto near = [&](const at::Tensor& a, const at::Tensor& b, const char* name) {
    EXPECT_LT(relative(a, b), tolerance) << name;
  };
  near(got.mass_N, expected.mass_N, "mass");
  near(got.mass2_N, expected.mass2_N, "mass2");
  near(got.output_mass_N, expected.output_mass_N, "output_mass");
  near(got.mean_output_ND, expected.mean_output_ND, "mean_output");
  near(got.gate_effect_NM, expected.gate_effect_NM, "gate_effect");
  near(got.up_effect_NM, expected.up_effect_NM, "up_effect");
  near(got.input_moments, expected.input_moments, "input_moments");
  near(got.hidden_moments, expected.hidden_moments, "hidden_moments");
}

/// Five experts of width 6 on rows of 8, fp64.
nn::Parameters random_layer() {
  const auto wide = torch::TensorOptions(torch::kDouble);
  return {{"router", torch::randn({5, 8}, wide)},
          {"gate", torch::randn({5, 6, 8}, wide)},
          {"up", torch::randn({5, 6, 8}, wide)},
          {"down", torch::randn({5, 8, 6}, wide)}};
}

TEST(StatisticsSum, IsTheDefinition) {
  torch::manual_seed(1);
  const nn::Parameters parameters = random_layer();
  const nn::Scope moe(parameters);
  const at::Tensor x_TD = torch::randn({40, 8}, torch::kDouble);
  const at::Tensor importance_T = torch::rand({40}, torch::kDouble) + 0.1;
  MoeConfig config{.num_experts = 5, .top_k = 2, .hidden_dim = 6};
  StatisticsSum sum(config, 8, {});
  auto routed = [&](const at::Tensor& rows_TD) {
    return nn::route_rows(nn::router_logits(rows_TD, moe.at("router")), config);
  };
  for (std::int64_t first = 0; first < 40; first += 16) {
    const at::Tensor batch_TD = x_TD.slice(0, first, first + 16);
    sum.add(batch_TD, routed(batch_TD), moe, importance_T.slice(0, first, first + 16));
  }
  const LayerStatistics expected = by_definition(x_TD, importance_T, moe, 2);
  expect_alike(sum.result(), expected, 1e-9);
  EXPECT_EQ(sum.result().tokens, 40);

  StatisticsSum rough(config, 8, {.expert_inputs = false, .full_hidden = false});
  rough.add(x_TD, routed(x_TD), moe, importance_T);
  const LayerStatistics layer = rough.result();
  EXPECT_LT(relative(layer.layer_input_moment(), expected.input_moments.sum(0)), 1e-9);
  EXPECT_LT(relative(layer.hidden_moment(3), expected.hidden_moments[3].diagonal().diag()), 1e-9);
  const double share = (expected.mass2_N[2] / expected.mass2_N.sum()).item<double>();
  EXPECT_LT(relative(layer.input_moment(2), expected.input_moments.sum(0) * share), 1e-9);
  const std::vector<std::int64_t> members{1, 4};
  EXPECT_LT(relative(sum.result().input_moment(members),
                     expected.input_moments[1] + expected.input_moments[4]),
            1e-9);
}

TEST(StatisticsSum, SamplesAllPlacesOfAWindowForMeanOutputs) {
  torch::manual_seed(2);
  const nn::Parameters parameters = random_layer();
  const nn::Scope moe(parameters);
  const MoeConfig config{.num_experts = 5, .top_k = 2, .hidden_dim = 6};
  // Windows of 16 in which a place has the same input every time.
  const at::Tensor x_TD = torch::randn({16, 8}, torch::kDouble).repeat({60, 1});
  StatisticsSum all(config, 8, {}), some(config, 8, {.output_share = 1.0 / 4});
  for (const at::Tensor& batch_TD : x_TD.split(160))
    for (StatisticsSum* sum : {&all, &some})
      sum->add(batch_TD, nn::route_rows(nn::router_logits(batch_TD, moe.at("router")), config), moe,
               torch::ones({batch_TD.size(0)}, torch::kDouble));
  EXPECT_LT(relative(some.result().mean_output_ND, all.result().mean_output_ND), 0.3);
}

/// The rows that each layer's experts are given, in fp64 throughout, sequence by sequence.
std::vector<std::pair<at::Tensor, at::Tensor>> inputs_by_layer(
    const nn::Decoder& model, const std::vector<TokenSequence>& sequences) {
  const DecoderConfig& config = model.config();
  const nn::Scope scope(model.parameters());
  std::vector<std::vector<at::Tensor>> rows(static_cast<std::size_t>(config.num_layers)),
      states(rows.size());
  for (const TokenSequence& sequence : sequences) {
    const auto T = static_cast<std::int64_t>(sequence.size());
    const at::Tensor ids = torch::tensor(sequence, torch::kInt).to(torch::kLong);
    at::Tensor x_BTD = scope.at("embed").index_select(0, ids).unsqueeze(0);
    const auto tables =
        nn::rotary_tables(T, config.attention.head_dim, config.attention.rope_theta);
    for (int l = 0; l < config.num_layers; ++l) {
      const nn::Scope layer = scope.in("layers." + std::to_string(l));
      x_BTD = x_BTD + nn::attention(nn::rms_norm(x_BTD, layer.at("attn_norm"), config.norm_eps),
                                    layer.in("attn"), tables, {config.attention, config.norm_eps});
      const at::Tensor x_TD =
          nn::rms_norm(x_BTD, layer.at("ffn_norm"), config.norm_eps).flatten(0, 1);
      rows[l].push_back(x_TD);
      x_BTD = x_BTD + nn::moe_layer(x_TD, layer, config.moe).y_TD.view_as(x_BTD);
      states[l].push_back(x_BTD.flatten(0, 1));
    }
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> all;
  for (std::size_t l = 0; l < rows.size(); ++l)
    all.emplace_back(torch::cat(rows[l]), torch::cat(states[l]));
  return all;
}

TEST(Calibrate, MomentsOfTheReferenceModelAreTheDirectOnes) {
  const torch::NoGradGuard no_grad;
  const testing::Scratch scratch;
  const ModelFiles files = open_model(reference_moe());
  const std::vector<TokenSequence> sequences = {
      {5, 917, 44, 3001, 12, 12, 700, 1234}, {2, 3, 4}, {4000, 1, 99, 250, 77, 31, 8, 2048}};
  const auto report = calibrate(files, sequences, scratch / "c.safetensors",
                                {.text = "ids", .batch_tokens = 10, .output_rows = 1 << 20});
  EXPECT_EQ(report.description.tokens, 19);
  const Calibration calibration = Calibration::open(scratch / "c.safetensors");
  calibration.check_made_for(files);
  EXPECT_EQ(calibration.description().text, "ids");
  nn::Decoder wide(files.config, torch::kDouble);
  wide.load(files);
  const auto inputs = inputs_by_layer(wide, sequences);
  const nn::Scope scope(wide.parameters());
  for (int l = 0; l < files.config.num_layers; ++l) {
    SCOPED_TRACE(l);
    const nn::Scope moe = scope.in("layers." + std::to_string(l)).in("moe");
    const auto& [x_TD, states_TD] = inputs[l];
    const at::Tensor importance_T = 1 / (states_TD.square().mean(1) + files.config.norm_eps).sqrt();
    const LayerStatistics expected = by_definition(x_TD, importance_T, moe, files.config.moe.top_k);
    expect_alike(calibration.layer(l, files.config), expected, 2e-5);
    EXPECT_EQ(report.rows_LN[l],
              std::vector<std::int64_t>(expected.rows_N.data_ptr<std::int64_t>(),
                                        expected.rows_N.data_ptr<std::int64_t>() + 16));
  }
  EXPECT_TALPA_ERROR(calibration.layer(5, files.config), kNotFound, "layers.5");
}

TEST(Calibrate, KeepsOnlyTheLayersMomentsWhereTheyWouldTakeTooMuch) {
  const testing::Scratch scratch;
  const ModelFiles files = open_model(reference_moe());
  const std::vector<TokenSequence> sequences = {{5, 917, 44, 3001, 12}};
  calibrate(files, sequences, scratch / "fine.safetensors", {});
  // 16 experts of 128 x 128 take 2 MiB, of 64 x 64 half a MiB.
  calibrate(files, sequences, scratch / "inputs.safetensors", {.moment_bytes = 1 << 20});
  calibrate(files, sequences, scratch / "rough.safetensors", {.moment_bytes = 1 << 10});
  const LayerStatistics fine =
      Calibration::open(scratch / "fine.safetensors").layer(3, files.config);
  const LayerStatistics inputs =
      Calibration::open(scratch / "inputs.safetensors").layer(3, files.config);
  const LayerStatistics rough =
      Calibration::open(scratch / "rough.safetensors").layer(3, files.config);
  EXPECT_TRUE(fine.has_expert_inputs() && fine.has_full_hidden());
  EXPECT_TRUE(!inputs.has_expert_inputs() && inputs.has_full_hidden());
  EXPECT_TRUE(!rough.has_expert_inputs() && !rough.has_full_hidden());
  EXPECT_LT(relative(rough.layer_input_moment(), fine.layer_input_moment()), 1e-12);
  EXPECT_LT(relative(rough.hidden_moments, fine.hidden_moments.diagonal(0, 1, 2)), 1e-12);
}

TEST(Calibrate, SequencesAreAChoiceOfTheSeed) {
  std::vector<TokenSequence> sequences;
  for (std::int32_t i = 0; i < 50; ++i) sequences.push_back(TokenSequence(7, i));
  const auto some = sample_sequences(sequences, 100, 1);
  ASSERT_EQ(some.size(), 15u);
  EXPECT_EQ(some.back().size(), 2u);
  EXPECT_EQ(some, sample_sequences(sequences, 100, 1));
  EXPECT_NE(some, sample_sequences(sequences, 100, 2));
  EXPECT_EQ(sample_sequences(sequences, 1000, 1).size(), 50u);
}

TEST(Calibrate, RefusesWhatItCannotUse) {
  const testing::Scratch scratch;
  const ModelFiles files = open_model(save_random(scratch / "moe"));
  const auto path = scratch / "c.safetensors";
  EXPECT_TALPA_ERROR(calibrate(files, {{1, 64}}, path, {}), kShape, "token 64");
  EXPECT_FALSE(std::filesystem::exists(path));
  calibrate(files, {{1, 2, 3}}, path, {});
  EXPECT_TALPA_ERROR(calibrate(files, {{1, 2, 3}}, path, {}), kUsage, "exists");
  const ModelFiles other = open_model(save_random(scratch / "other", 4));
  EXPECT_TALPA_ERROR(Calibration::open(path).check_made_for(other), kUsage, "another model");
  DecoderConfig wider = files.config;
  wider.moe.num_experts *= 2;
  EXPECT_TALPA_ERROR(Calibration::open(path).layer(0, wider), kFormat, "layers.0.rows");
  EXPECT_TALPA_ERROR(Calibration::open(scratch / "moe" / "model.safetensors"), kFormat,
                     "no file of this version");
}

}  // namespace
}  // namespace talpa::convert
