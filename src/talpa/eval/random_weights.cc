#include "talpa/eval/random_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <list>

#include "talpa/base/random.h"
#include "talpa/model/basis_pivots.h"

namespace talpa {

namespace {

/// Four bf16 values in each 64-bit word of a random generator.
class RandomBf16 {
 public:
  RandomBf16(std::int64_t columns, std::uint64_t seed) : random_(seed, "weights") {
    // Exponents e - 3 to e are equally likely; 1.14 makes the mean square 1 / columns for an
    // unrounded e.
    const double e = std::log2(1.14 / std::sqrt(static_cast<double>(columns)));
    const auto lowest = static_cast<std::uint64_t>(127 + std::lround(e) - 3) << 7;
    exponents_ = lowest * 0x0001000100010001ULL;
  }

  void fill(std::byte* target, std::int64_t count) {
    constexpr std::uint64_t kSignExponentMantissa = 0x81ff81ff81ff81ffULL;
    for (std::int64_t left = 2 * count; left > 0; left -= 8, target += 8) {
      const std::uint64_t values = (random_.next() & kSignExponentMantissa) + exponents_;
      std::memcpy(target, &values, static_cast<std::size_t>(std::min<std::int64_t>(left, 8)));
    }
  }

 private:
  Random random_;
  std::uint64_t exponents_;
};

std::uint64_t seed_of_row(std::uint64_t seed, std::int64_t row) {
  return seed ^ (static_cast<std::uint64_t>(row + 1) * 0x9e3779b97f4a7c15ULL);
}

/// Memory that weights in memory point into.
class RandomStore : public TensorStore {
 public:
  RandomStore() { path_ = "random weights"; }

  std::span<const std::byte> keep(std::vector<std::byte> bytes) {
    return kept_.emplace_back(std::move(bytes));
  }

 private:
  std::list<std::vector<std::byte>> kept_;
};

class RandomFiles {
 public:
  RandomFiles(const DecoderConfig& config, std::uint64_t seed)
      : seed_(seed), store_(std::make_shared<RandomStore>()) {
    files_.path = store_->path();
    files_.format = "random";
    files_.config = config;
    for (const WeightSpec& spec : weight_specs(config))
      files_.weights[spec.name] = is_pivot(spec.name)      ? pivots(spec)
                                  : spec.shape.size() == 1 ? vector(spec)
                                                           : matrix(spec);
    files_.store = store_;
  }
  ModelFiles take() && { return std::move(files_); }

 private:
  /// Rows of one width, used by every matrix of that width from some row on.
  struct Block {
    std::int64_t rows = 0;
    std::span<const std::byte> bytes;
  };

  Weight vector(const WeightSpec& spec) {
    const bool norm = spec.name.find("norm") != std::string::npos;
    return floats(spec,
                  std::vector<float>(static_cast<std::size_t>(spec.shape[0]), norm ? 1.0f : 0.0f));
  }

  /// The first rows of every basis are the identity's.
  Weight pivots(const WeightSpec& spec) {
    const std::int64_t width = spec.shape[1];
    const std::int64_t rank = latent_size_of(files_.config.moe.latent, spec.name).rank;
    std::vector<float> mask;
    for (std::int64_t i = 0; i < num_elements(spec.shape); ++i)
      mask.push_back(i % width < rank ? 1.0f : 0.0f);
    return floats(spec, mask);
  }

  Weight floats(const WeightSpec& spec, const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return {spec.shape, {{spec.name, DType::kF32, spec.shape, store_->keep(std::move(bytes))}}};
  }

  Weight matrix(const WeightSpec& spec) {
    const std::int64_t columns = spec.shape.back();
    const std::int64_t row_bytes = 2 * columns;
    const Block& block = block_of(columns);
    Weight weight{spec.shape, {}};
    auto first = static_cast<std::int64_t>(
        Random(seed_, spec.name).below(static_cast<std::uint64_t>(block.rows)));
    for (std::int64_t left = num_elements(spec.shape) / columns; left > 0; first = 0) {
      const std::int64_t rows = std::min(left, block.rows - first);
      weight.pieces.push_back({spec.name,
                               DType::kBF16,
                               {rows, columns},
                               block.bytes.subspan(static_cast<std::size_t>(first * row_bytes),
                                                   static_cast<std::size_t>(rows * row_bytes))});
      left -= rows;
    }
    return weight;
  }

  const Block& block_of(std::int64_t columns) {
    Block& block = blocks_[columns];
    if (block.rows > 0) return block;
    constexpr std::int64_t kElements = 16 << 20;
    block.rows = std::max<std::int64_t>(kElements / columns, 16);
    std::vector<std::byte> bytes(static_cast<std::size_t>(2 * block.rows * columns));
    RandomBf16(columns, seed_).fill(bytes.data(), block.rows * columns);
    block.bytes = store_->keep(std::move(bytes));
    return block;
  }

  std::uint64_t seed_;
  std::shared_ptr<RandomStore> store_;
  std::map<std::int64_t, Block> blocks_;
  ModelFiles files_;
};

}  // namespace

RowSource random_rows(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  return {rows, columns, DType::kBF16,
          [columns, seed](std::int64_t first, std::int64_t count, std::byte* target) {
            for (std::int64_t i = 0; i < count; ++i, target += 2 * columns)
              RandomBf16(columns, seed_of_row(seed, first + i)).fill(target, columns);
          }};
}

ModelFiles random_model_files(const DecoderConfig& config, std::uint64_t seed) {
  config.validate("");
  return RandomFiles(config, seed).take();
}

}  // namespace talpa
