#include "talpa/search/candidates.h"

#include <gtest/gtest.h>

#include <set>

#include "talpa/convert/method.h"
#include "talpa/model/accounting.h"

namespace talpa::search {
namespace {

convert::ConvertOptions base(double bits, bool calibrated) {
  convert::ConvertOptions options;
  options.bits = bits;
  options.gguf = uniform_types(DType::kQ8_0, DType::kQ8_0, DType::kQ8_0);
  if (calibrated) options.calibration = "moments";
  return options;
}

DecoderConfig published(const std::string& name) {
  for (const PublishedModel& model : published_models())
    if (model.name == name) return model.config;
  throw std::runtime_error(name);
}

TEST(Candidates, TakeNoMoreThanTheirBits) {
  for (const char* name : {"qwen3-30b-a3b", "olmoe-1b-7b"})
    for (const double bits : {2.5, 3.0, 3.5, 4.5, 6.0}) {
      const DecoderConfig config = published(name);
      const double most =
          bits / 8 * static_cast<double>(account_of(config).expert_params) * (1 + 1e-9);
      std::set<std::string> names;
      for (const Candidate& candidate : candidates(config, base(bits, true))) {
        const auto target =
            convert::method_named(candidate.options.method).plan(config, candidate.options);
        EXPECT_LE(expert_bytes_in_file(target, *candidate.options.gguf), most) << candidate.name;
        EXPECT_TRUE(names.insert(candidate.name).second) << candidate.name;
      }
      EXPECT_GE(names.size(), 7u) << name << " " << bits;
    }
}

TEST(Candidates, WithoutACalibrationNeedNone) {
  for (const Candidate& candidate : candidates(published("olmoe-1b-7b"), base(3.0, false))) {
    EXPECT_FALSE(convert::method_named(candidate.options.method).needs_statistics())
        << candidate.name;
    EXPECT_FALSE(candidate.options.allocate) << candidate.name;
  }
}

TEST(Candidates, LatentsHaveWidthsByLayerWithACalibration) {
  int by_layer = 0;
  for (const Candidate& candidate : candidates(published("olmoe-1b-7b"), base(3.0, true))) {
    const auto& options = candidate.options;
    EXPECT_EQ(options.allocate, candidate.name.ends_with(", by layer")) << candidate.name;
    if (!options.allocate) continue;
    ++by_layer;
    EXPECT_EQ(options.bits, 3) << candidate.name;
  }
  EXPECT_GT(by_layer, 2);
}

}  // namespace
}  // namespace talpa::search
