#include "talpa/search/auto_convert.h"

#include <gtest/gtest.h>

#include "convert/fixtures.h"
#include "talpa/base/file.h"
#include "talpa/base/random.h"
#include "talpa/convert/calibrate.h"
#include "talpa/eval/compare.h"
#include "talpa/model/accounting.h"
#include "talpa/search/candidates.h"

namespace talpa::search {
namespace {

namespace fs = std::filesystem;

DecoderConfig auto_config() {
  DecoderConfig config = convert::small_moe();
  config.dim = config.ffn_dim = 64;
  config.attention.head_dim = 32;
  config.moe.hidden_dim = 32;  // whole blocks
  return config;
}

LoadedModel saved_model(const fs::path& path, const DecoderConfig& config = auto_config()) {
  nn::Decoder decoder(config);
  decoder.initialise(3);
  save_hf_directory(path, decoder.config(), decoder.provider(), {.dtype = DType::kF32});
  return load_model(path, {.threads = 1});
}

ScoringText random_text() {
  TokenDocument document;
  Random random(1, "text");
  for (int i = 0; i < 400; ++i) document.tokens.push_back(static_cast<TokenId>(random.below(64)));
  return prepare_scoring(std::vector{document}, {.context = 50}, nullptr);
}

SearchOptions search_options(double bits) {
  SearchOptions options;
  options.convert.bits = bits;
  options.convert.gguf = uniform_types(DType::kQ8_0, DType::kQ8_0, DType::kQ8_0);
  options.threads = 1;
  return options;
}

std::uint64_t stored_expert_bytes(const ModelFiles& model) {
  std::uint64_t bytes = 0;
  for (const auto& [name, weight] : model.weights)
    if (name.find(".moe.") != std::string::npos && !name.ends_with(".router"))
      bytes += weight.bytes();
  return bytes;
}

TEST(ConvertBest, GivesUpWhatLosesFarMoreInItsFirstLayers) {
  const testing::Scratch scratch;
  DecoderConfig config = auto_config();
  config.num_layers = 4;
  config.moe.hidden_dim = 64;
  const LoadedModel model = saved_model(scratch / "model", config);
  const auto report = convert_best(model, scratch / "out.gguf", random_text(), search_options(3.5));
  EXPECT_EQ(report.trials[0].expert_bytes, stored_expert_bytes(open_model(scratch / "out.gguf")));
  ASSERT_FALSE(report.given_up.empty());  // factors of random matrices
  for (const GivenUp& candidate : report.given_up) {
    EXPECT_EQ(candidate.layers, 3) << candidate.name;
    EXPECT_GT(candidate.error_ratio, kHopeless);
    for (const Trial& trial : report.trials) EXPECT_NE(trial.name, candidate.name);
  }
}

TEST(ConvertBest, WritesTheClosestOfThoseWithinTheBits) {
  const testing::Scratch scratch;
  const LoadedModel model = saved_model(scratch / "model");
  for (const double bits : {3.0, 4.5}) {
    const fs::path out = scratch / "out.gguf";
    fs::remove(out);
    const SearchReport report = convert_best(model, out, random_text(), search_options(bits));
    ASSERT_GE(report.trials.size(), 2u);
    const auto most = bits / 8 * static_cast<double>(account_of(model.files.config).expert_params);
    for (const Trial& trial : report.trials) {
      EXPECT_LE(static_cast<double>(trial.expert_bytes), most) << trial.name;
      EXPECT_GE(trial.divergence.kl_mean, report.trials[0].divergence.kl_mean);
    }
    EXPECT_EQ(stored_expert_bytes(open_model(out)), report.trials[0].expert_bytes);
    const auto note = conversion_note(out);
    ASSERT_TRUE(note.has_value());
    EXPECT_EQ(note->method, "auto");
    EXPECT_EQ(note->expert_bytes, report.trials[0].expert_bytes);
    EXPECT_FALSE(fs::exists(scratch / "out.gguf.search"));
  }
}

TEST(ConvertBest, LatentsByLayerTakeNoMoreThanTheBits) {
  const testing::Scratch scratch;
  DecoderConfig config = auto_config();
  config.moe.num_experts = 16;
  config.moe.hidden_dim = 64;
  const LoadedModel model = saved_model(scratch / "model", config);
  Random random(1, "tokens");
  std::vector<convert::TokenSequence> sequences(60);
  for (convert::TokenSequence& sequence : sequences)
    for (int i = 0; i < 50; ++i) sequence.push_back(static_cast<TokenId>(random.below(64)));
  convert::calibrate(model.files, sequences, scratch / "c.safetensors", {});
  SearchOptions options = search_options(3.0);
  options.convert.calibration = scratch / "c.safetensors";
  const auto report = convert_best(model, scratch / "out.gguf", random_text(), options);
  const auto most = 3.0 / 8 * static_cast<double>(account_of(config).expert_params);
  int by_layer = 0;
  for (const Trial& trial : report.trials) {
    by_layer += trial.name.ends_with(", by layer");
    EXPECT_LE(static_cast<double>(trial.expert_bytes), most) << trial.name;
  }
  EXPECT_GE(by_layer, 2);
}

TEST(ConvertBest, CountsWhatFilesCannotHoldInBlocks) {
  const testing::Scratch scratch;
  DecoderConfig config = auto_config();
  config.moe.hidden_dim = 48;  // down stays in 16 bits
  const LoadedModel model = saved_model(scratch / "model", config);
  EXPECT_TALPA_ERROR(convert_best(model, scratch / "out.gguf", random_text(), search_options(2.5)),
                     kConfig, "2.5 bits");
  const SearchReport report =
      convert_best(model, scratch / "out.gguf", random_text(), search_options(8.5));
  const auto most = 8.5 / 8 * static_cast<double>(account_of(config).expert_params);
  EXPECT_LE(static_cast<double>(report.trials[0].expert_bytes), most);
}

TEST(ConvertBest, LeavesNothingWhenInterrupted) {
  const testing::Scratch scratch;
  const LoadedModel model = saved_model(scratch / "model");
  const std::atomic<bool> cancelled = true;
  SearchOptions options = search_options(3.0);
  options.cancelled = &cancelled;
  EXPECT_TALPA_ERROR(convert_best(model, scratch / "out.gguf", random_text(), options),
                     kInterrupted, "interrupted");
  EXPECT_FALSE(fs::exists(scratch / "out.gguf"));
  EXPECT_FALSE(fs::exists(scratch / "out.gguf.search"));
  write_text(scratch / "taken.gguf", "mine");
  EXPECT_TALPA_ERROR(
      convert_best(model, scratch / "taken.gguf", random_text(), search_options(3.0)), kUsage,
      "exists already");
  EXPECT_EQ(read_text(scratch / "taken.gguf"), "mine");
}

CompareRow row_of(std::uint64_t bytes, double kl) {
  CompareRow row;
  row.stored_expert_bytes = bytes;
  row.scores.divergence.kl_mean = kl;
  return row;
}

TEST(RankAtEqualBytes, CountsThoseThatAreAsSmallAndCloser) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<CompareRow> rows = {row_of(1000, 0),  row_of(500, 0.1), row_of(504, 0.05),
                                  row_of(400, 0.2), row_of(400, nan), row_of(300, 0.3),
                                  row_of(1000, 0.4)};
  rank_at_equal_bytes(rows);
  std::vector<int> ranks;
  for (const CompareRow& row : rows) ranks.push_back(row.rank);
  EXPECT_EQ(ranks, (std::vector<int>{1, 2, 1, 1, 3, 1, 6}));
}

}  // namespace
}  // namespace talpa::search
