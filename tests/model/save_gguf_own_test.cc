// GGUF files of talpa's own architecture.
#include <gtest/gtest.h>

#include <cmath>

#include "model/checkpoint.h"
#include "model/configs.h"
#include "talpa/format/gguf.h"
#include "talpa/model/gguf_own.h"
#include "talpa/model/hf_names.h"

namespace talpa {
namespace {

using namespace talpa::testing;

DecoderConfig latent_config(const LatentConfig& latent) {
  DecoderConfig config = config_of(Family::kTalpa);
  config.dim = 64;
  config.moe.hidden_dim = 96;
  config.moe.dense_layers = {1};
  config.ffn_dim = 64;
  config.eos_tokens = {2, 7, 9, 11, 12};
  config.moe.latent = latent;
  config.validate({});
  return config;
}

const std::vector<LatentConfig>& latent_cases() {
  static const std::vector<LatentConfig> cases = {
      {.latent_dim = 32, .group_size = 4, .factor_down = true},
      {.latent_dim = 16, .share_gate_up_latent = true},
      {.latent_dim = 32,
       .group_size = 2,
       .mixed = true,
       .basis_activation = BasisActivation::kSilu},
      {.latent_dim = 40,
       .group_size = 1,
       .factor_down = true,
       .mixed = true,
       .basis_activation = BasisActivation::kTanh,
       .basis_rank = 8},
  };
  return cases;
}

/// Numbers that differ by tensor and by element.
void made_up(const WeightSpec& spec, float* target) {
  const std::int64_t columns = spec.shape.back();
  const bool pivot = spec.name.ends_with("_pivot");
  for (std::int64_t i = 0; i < num_elements(spec.shape); ++i)
    target[i] =
        pivot ? (i % columns < 8 ? 1.0f : 0.0f)
              : std::sin(static_cast<float>(i) * 0.37f + static_cast<float>(spec.name.size()));
}

class OwnGguf : public ::testing::TestWithParam<int> {};

TEST_P(OwnGguf, ReadsBackTheSameModel) {
  const DecoderConfig config = latent_config(latent_cases()[GetParam()]);
  const Scratch scratch;
  save_gguf(scratch / "m.gguf", config, made_up, {.dtype = DType::kF32});
  const ModelFiles copy = open_model(scratch / "m.gguf");
  EXPECT_EQ(config_to_json(copy.config), config_to_json(config));
  for (const WeightSpec& spec : weight_specs(config)) {
    std::vector<float> wanted(static_cast<std::size_t>(num_elements(spec.shape)));
    made_up(spec, wanted.data());
    EXPECT_EQ(floats(copy.at(spec.name)), wanted) << spec.name;
  }
}

TEST_P(OwnGguf, EveryTensorHasTheTypeOfItsKind) {
  const DecoderConfig config = latent_config(latent_cases()[GetParam()]);
  const Scratch scratch;
  save_gguf(scratch / "m.gguf", config, made_up,
            {.dtype = DType::kQ8_0, .expert_dtype = DType::kQ3_0, .shared_dtype = DType::kQ4_0});
  const ModelFiles copy = open_model(scratch / "m.gguf");
  int experts = 0, shared = 0;
  for (const WeightSpec& spec : weight_specs(config)) {
    const std::string_view role = split_weight_name(spec.name).role;
    const bool whole = spec.shape.back() % 32 == 0;
    DType wanted = DType::kQ8_0;
    if (role == "moe.gate" || role == "moe.up" || role == "moe.down") {
      wanted = whole ? DType::kQ3_0 : DType::kF16;
      ++experts;
    } else if (role.ends_with("_in") || role.ends_with("_out") || role.ends_with("_basis")) {
      wanted = whole ? DType::kQ4_0 : DType::kF16;
      ++shared;
    } else if (spec.shape.size() == 1 || role == "moe.router" || role.ends_with("_mix") ||
               role.ends_with("_pivot")) {
      wanted = DType::kF32;
    }
    EXPECT_EQ(name_of(copy.at(spec.name).dtype()), std::string(name_of(wanted))) << spec.name;
  }
  EXPECT_EQ(experts, 3 * 2);
  EXPECT_GE(shared, 2);
}

INSTANTIATE_TEST_SUITE_P(Latent, OwnGguf, ::testing::Range(0, 4));

TEST(OwnGgufCodes, AreTakenAsTheyAre) {
  const DecoderConfig config = latent_config(latent_cases()[0]);
  const Scratch scratch;
  std::map<std::string, std::vector<std::byte>> given;
  GgufSaveOptions options = {.dtype = DType::kQ8_0, .expert_dtype = DType::kQ2_0};
  options.encoded = [&](const WeightSpec& spec, DType dtype, std::span<std::byte> target) {
    if (!spec.name.ends_with("moe.down")) return false;
    EXPECT_EQ(dtype, DType::kQ2_0);
    for (std::size_t i = 0; i < target.size(); ++i) target[i] = static_cast<std::byte>(i * 7 % 113);
    given[spec.name].assign(target.begin(), target.end());
    return true;
  };
  save_gguf(scratch / "m.gguf", config, made_up, options);
  const auto file = GgufFile::open(scratch / "m.gguf");
  ASSERT_EQ(given.size(), 2U);
  for (const auto& [name, bytes] : given) {
    const auto stored = file->at(name).bytes;
    EXPECT_TRUE(std::equal(stored.begin(), stored.end(), bytes.begin(), bytes.end())) << name;
  }
  EXPECT_EQ(file->at("layers.0.moe.gate").dtype, DType::kQ2_0);
}

/// Codes of a query matrix are given in our order of rows and stored in llama.cpp's.
TEST(OwnGgufCodes, OfQueriesAreArrangedInPairs) {
  const ModelFiles files = open_model(golden_model("llama"));
  const Scratch scratch;
  save_gguf(scratch / "a.gguf", files.config, weights_of(files), {.dtype = DType::kF32});
  GgufSaveOptions options = {.dtype = DType::kF32};
  options.encoded = [&](const WeightSpec& spec, DType, std::span<std::byte> target) {
    files.at(spec.name).read(reinterpret_cast<float*>(target.data()));
    return true;
  };
  save_gguf(scratch / "b.gguf", files.config, {}, options);
  const auto a = GgufFile::open(scratch / "a.gguf"), b = GgufFile::open(scratch / "b.gguf");
  for (const auto& [name, view] : a->tensors())
    EXPECT_EQ(read_floats(view), read_floats(b->at(name)));
}

TEST(OwnGgufErrors, NameTheFileAndTheSetting) {
  const Scratch scratch;
  const auto open = [&](const std::vector<std::pair<std::string, Json>>& metadata) {
    GgufWriter(scratch / "m.gguf", metadata, {}).finish();
    open_model(scratch / "m.gguf");
  };
  const std::pair<std::string, Json> ours = {"general.architecture", "talpa"};
  EXPECT_TALPA_ERROR(open({ours}), kFormat, "talpa.config: expected the model's description");
  EXPECT_TALPA_ERROR(open({ours, {"talpa.config", "{"}}), kFormat, "not JSON at byte");
  EXPECT_TALPA_ERROR(open({ours, {"talpa.config", "[]"}}), kFormat, "talpa.config");
  EXPECT_TALPA_ERROR(open({ours, {"talpa.config", R"({"dims": 3})"}}), kFormat, "dims");
  Json json = config_to_json(latent_config(latent_cases()[0]));
  EXPECT_TALPA_ERROR(open({ours, {"talpa.config", json.dump()}}), kFormat, "embed");
  json["moe"]["latent"]["group_size"] = 3;
  EXPECT_TALPA_ERROR(open({ours, {"talpa.config", json.dump()}}), kFormat, "group_size");
}

TEST(OwnGgufErrors, FilesAreReplacedOnlyWhenAsked) {
  const Scratch scratch;
  const DecoderConfig config = latent_config(latent_cases()[1]);
  save_gguf(scratch / "m.gguf", config, made_up);
  EXPECT_TALPA_ERROR(save_gguf(scratch / "m.gguf", config, made_up), kUsage, "exists already");
  save_gguf(scratch / "m.gguf", config, made_up, {.overwrite = true});
  EXPECT_TALPA_ERROR(save_gguf(scratch / "n.gguf", config, made_up, {.expert_dtype = DType::kQ6_K}),
                     kUnsupported, "q6_k");
}

}  // namespace
}  // namespace talpa
