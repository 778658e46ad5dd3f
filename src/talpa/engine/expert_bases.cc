// n model width, r latent width, k_b rank of a basis, N experts, G bases, I experts to mix.
#include "talpa/engine/expert_bases.h"

#include <algorithm>

#include "talpa/base/error.h"
#include "talpa/engine/read_factors.h"
#include "talpa/kernel/implementation.h"
#include "talpa/kernel/matmul.h"
#include "talpa/model/basis_pivots.h"

namespace talpa {

namespace {

/// Elements of a basis that are mixed at once: with those of some experts they fit a cache.
constexpr std::int64_t kMixedAtOnce = 8192;

/// f in place; tanh to 2e-7.
void activate(BasisActivation activation, float* x, std::int64_t count) {
  const kernel::RowFunctions& functions = kernel::row_functions();
  if (activation == BasisActivation::kSilu) {
    const std::vector<float> ones(static_cast<std::size_t>(count), 1.0f);
    functions.silu_mul(x, ones.data(), x, count);
  } else if (activation == BasisActivation::kTanh) {
    for (std::int64_t i = 0; i < count; ++i) x[i] = std::clamp(x[i], -10.0f, 10.0f);
    functions.exp(x, 2, 0, count);
    for (std::int64_t i = 0; i < count; ++i) x[i] = (x[i] - 1) / (x[i] + 1);
  }
}

PackedMatrix packed_floats(const HeldRows& rows, std::int64_t first, std::int64_t count,
                           ThreadPool& pool) {
  const RowSource source{count, rows.columns(), DType::kF32,
                         [&](std::int64_t begin, std::int64_t wanted, std::byte* target) {
                           rows.read(first + begin, wanted, reinterpret_cast<float*>(target));
                         }};
  return pack(source, DType::kF32, pool);
}

}  // namespace

ExpertBases::ExpertBases(const ModelFiles& files, const std::string& prefix,
                         const std::string& latent, std::optional<DType> wanted, ThreadPool& pool)
    : num_bases_(files.config.num_groups()),
      dim_(files.config.dim),
      activation_(files.config.moe.latent.basis_activation) {
  const std::string name = prefix + latent;
  const LatentSize size = latent_size_of(files.config.moe.latent, name);
  latent_dim_ = size.width;
  rank_ = size.rank;
  const bool is_down = latent == "down";
  read_mix(files, name + "_mix");
  right_ = read_factors(files, name + (is_down ? "_out" : "_in"), !is_down, wanted, pool);
  if (!is_low_rank()) return;
  left_ = read_factors(files, name + "_basis", is_down, wanted, pool);
  order_ = basis_order(files, name + "_pivot");
}

void ExpertBases::read_mix(const ModelFiles& files, const std::string& name) {
  const auto num_experts = static_cast<std::int64_t>(files.config.moe.num_experts);
  mix_NG_.assign(static_cast<std::size_t>(num_experts * num_bases_), 0.0f);
  if (files.config.moe.latent.mixed) return files.at(name).read(mix_NG_.data());
  for (std::int64_t i = 0; i < num_experts; ++i)
    mix_NG_[i * num_bases_ + i / files.config.group_size()] = 1;
}

std::uint64_t ExpertBases::bytes() const {
  return right_.bytes() + left_.bytes() + mix_NG_.size() * sizeof(float) +
         order_.size() * sizeof(std::int32_t);
}

double ExpertBases::bytes_of_mixture() const {
  const auto used = std::count_if(mix_NG_.begin(), mix_NG_.end(), [](float w) { return w != 0; });
  return static_cast<double>(right_.bytes() + left_.bytes()) * static_cast<double>(used) /
         static_cast<double>(mix_NG_.size());
}

/// One call of mix: bases in batches, rows of each split over the pool.
class ExpertBases::Mixing {
 public:
  Mixing(const ExpertBases& bases, std::span<const int> experts, float* s_INR,
         FormingScratch& scratch, ThreadPool& pool)
      : b_(bases), experts_(experts), s_INR_(s_INR), scratch_(scratch), pool_(pool) {
    for (std::int64_t j = 0; j < b_.num_bases_; ++j)
      if (std::any_of(experts.begin(), experts.end(), [&](int i) { return weight(i, j) != 0; }))
        used_.push_back(j);
  }

  void run(std::uint64_t bytes) {
    const auto count = static_cast<std::int64_t>(used_.size());
    std::int64_t batch = std::max<std::int64_t>(count, 1);
    if (b_.is_low_rank()) {
      const auto basis_bytes = static_cast<std::uint64_t>(b_.dim_ * num_others()) * sizeof(float);
      batch = std::clamp(static_cast<std::int64_t>(bytes / basis_bytes), std::int64_t{1}, batch);
    }
    std::int64_t first = 0;
    do {
      const std::int64_t end = std::min(count, first + batch);
      const std::span<const std::int64_t> now(used_.data() + first, used_.data() + end);
      if (b_.is_low_rank()) multiply_out(now);
      mix(now, first == 0, end == count);
      first = end;
    } while (first < count);
  }

 private:
  float weight(int expert, std::int64_t basis) const {
    return b_.mix_NG_[expert * b_.num_bases_ + basis];
  }
  /// Columns of a low-rank basis that are not those of V itself.
  std::int64_t num_others() const { return b_.latent_dim_ - b_.rank_; }

  /// Those columns of each basis: V^T times the rows of U that are not the identity's.
  void multiply_out(std::span<const std::int64_t> bases) {
    const std::int64_t elements = b_.dim_ * num_others();
    float* others = scratch_.others.resize(bases.size() * static_cast<std::size_t>(elements));
    float* right_NB = scratch_.right.resize(static_cast<std::size_t>(b_.dim_ * b_.rank_));
    Activations x;
    for (const std::int64_t j : bases) {
      pool_.parallel_for(b_.dim_, 64, [&](std::int64_t begin, std::int64_t end) {
        b_.right_.read(j * b_.dim_ + begin, end - begin, right_NB + begin * b_.rank_);
      });
      x.set(right_NB, b_.dim_, b_.rank_);
      matmul(x, packed_floats(b_.left_, j * num_others(), num_others(), pool_), others, pool_);
      others += elements;
    }
  }

  void mix(std::span<const std::int64_t> bases, bool is_first, bool is_last) {
    const std::int64_t width = b_.latent_dim_;
    const std::int64_t grain = std::max<std::int64_t>(1, kMixedAtOnce / width);
    pool_.parallel_for(b_.dim_, grain, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t count = (end - begin) * width;
      Buffer<float> rows(static_cast<std::size_t>(count));
      for (std::size_t i = 0; is_first && i < experts_.size(); ++i)
        std::fill_n(sum(i, begin), count, 0.0f);
      for (std::size_t j = 0; j < bases.size(); ++j) {
        read(bases[j], j, begin, end, rows.data());
        for (std::size_t i = 0; i < experts_.size(); ++i)
          if (const float w = weight(experts_[i], bases[j]); w != 0)
            kernel::row_functions().axpy(w, rows.data(), sum(i, begin), count);
      }
      for (std::size_t i = 0; is_last && i < experts_.size(); ++i)
        activate(b_.activation_, sum(i, begin), count);
    });
  }

  float* sum(std::size_t i, std::int64_t row) const {
    return s_INR_ + (static_cast<std::int64_t>(i) * b_.dim_ + row) * b_.latent_dim_;
  }

  /// Rows [begin, end) of basis j, the `index`-th of its batch.
  void read(std::int64_t j, std::size_t index, std::int64_t begin, std::int64_t end,
            float* target) const {
    if (!b_.is_low_rank()) return b_.right_.read(j * b_.dim_ + begin, end - begin, target);
    const std::int32_t* order = b_.order_.data() + j * b_.latent_dim_;
    const float* others = scratch_.others.data() +
                          (static_cast<std::int64_t>(index) * b_.dim_ + begin) * num_others();
    Buffer<float> right(static_cast<std::size_t>((end - begin) * b_.rank_));
    b_.right_.read(j * b_.dim_ + begin, end - begin, right.data());
    const float* pivots = right.data();
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0; c < b_.latent_dim_; ++c)
        target[c] = order[c] < b_.rank_ ? pivots[order[c]] : others[order[c] - b_.rank_];
      target += b_.latent_dim_;
      others += num_others();
      pivots += b_.rank_;
    }
  }

  const ExpertBases& b_;
  std::span<const int> experts_;
  float* s_INR_;
  FormingScratch& scratch_;
  ThreadPool& pool_;
  std::vector<std::int64_t> used_;
};

void ExpertBases::mix(std::span<const int> experts, std::uint64_t bytes, float* s_INR,
                      FormingScratch& scratch, ThreadPool& pool) const {
  Mixing(*this, experts, s_INR, scratch, pool).run(bytes);
}

}  // namespace talpa
