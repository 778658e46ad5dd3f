#include "talpa/search/candidates.h"

#include "talpa/base/error.h"
#include "talpa/convert/method.h"
#include "talpa/model/accounting.h"

namespace talpa::search {

namespace {

using convert::ConvertOptions;

/// Experts' own matrices in a type of more bits than this times the budget leave too little width.
constexpr double kWidestType = 3;

class CandidateList {
 public:
  CandidateList(const DecoderConfig& original, const ConvertOptions& base)
      : original_(original), base_(base) {}

  std::vector<Candidate> build() && {
    rounding();
    for (const DType own : kTypes) {
      if (bits_of(own) <= base_.bits || bits_of(own) > kWidestType * base_.bits) continue;
      latents(own);
      if (has_calibration()) add("prune", own, own, {});
    }
    return std::move(list_);
  }

 private:
  bool has_calibration() const { return !base_.calibration.empty(); }

  /// The experts as they are, in these types.
  bool fits(const convert::GgufTypes& types) const {
    const double most = base_.bits / 8 * static_cast<double>(account_of(original_).expert_params);
    return static_cast<double>(convert::expert_bytes_in_file(original_, types)) <=
           most * (1 + 1e-9);
  }

  void rounding() {
    for (const DType type : kTypes) {
      ConvertOptions options = base_;
      options.method = "none";
      options.bits = 0;
      options.gguf = uniform_types(base_.gguf->dtype, type, type);
      if (!fits(*options.gguf)) continue;
      list_.push_back({fmt::format("{}", name_of(type)), std::move(options)});
      return;
    }
  }

  void latents(DType own) {
    const char* method = has_calibration() ? "svd-whitened" : "svd";
    const int experts = original_.moe.num_experts;
    for (const DType shared : {DType::kQ8_0, own}) {
      for (const int group : {experts, experts / 4}) {
        if (group < 2 || experts % group != 0) continue;
        for (const bool down : {true, false})
          add(method, own, shared, {.group_size = group, .factor_down = down});
      }
      add("tucker2", own, shared, {});
      if (own == DType::kQ8_0) break;
    }
  }

  void add(const char* method, DType own, DType shared, const LatentConfig& latent) {
    ConvertOptions options = base_;
    options.method = method;
    options.latent = latent;
    options.gguf = uniform_types(base_.gguf->dtype, own, shared);
    DecoderConfig target;
    try {
      target = convert::method_named(method).plan(original_, options);
    } catch (const Error&) {
      return;  // does not fit, or would not shrink
    }
    std::string name = fmt::format("{} {}", method, name_of(own));
    const LatentConfig& planned = target.moe.latent;
    if (planned.enabled()) {
      name += fmt::format("/{}", name_of(shared));
      if (!has_calibration()) name += fmt::format(", r {}", planned.latent_dim);
      if (planned.group_size > 0 && planned.group_size < original_.moe.num_experts)
        name += fmt::format(", groups of {}", planned.group_size);
      if (!planned.factor_down) name += ", gate and up";
      if (has_calibration()) {
        options.allocate = true;
        name += ", by layer";
      }
    } else {
      name += fmt::format(", {} experts", target.moe.num_experts);
    }
    list_.push_back({std::move(name), std::move(options)});
  }

  const DecoderConfig& original_;
  const ConvertOptions& base_;
  std::vector<Candidate> list_;
};

}  // namespace

double bits_of(DType type) { return 8.0 * info_of(type).block_bytes / info_of(type).block_size; }

convert::GgufTypes uniform_types(DType other, DType own, DType shared) {
  return {.dtype = other, .experts = {{.gate = own, .up = own, .down = own, .shared = shared}}};
}

std::vector<Candidate> candidates(const DecoderConfig& original, const ConvertOptions& base) {
  return CandidateList(original, base).build();
}

}  // namespace talpa::search
