#include "talpa/format/block_rounding.h"

#include "talpa/base/cpu.h"
#include "talpa/base/error.h"
#include "talpa/format/quantise.h"

namespace talpa {

namespace {

using detail::BlockLevels;

constexpr BlockLevels kLevelsQ8{-127, 127};
constexpr BlockLevels kLevelsQ4{-8, 7};
constexpr BlockLevels kLevelsQ3{-4, 3};
constexpr BlockLevels kLevelsQ2{-2, 1};

[[noreturn]] void fail_levels(DType dtype) {
  fail(ErrorCode::kUnsupported, "{} is no format of a scale and integers", name_of(dtype));
}

[[gnu::always_inline]] inline float search(DType dtype, const float* x) {
  switch (dtype) {
    case DType::kQ8_0:
      return detail::best_scale<kLevelsQ8>(x);
    case DType::kQ4_0:
      return detail::best_scale<kLevelsQ4>(x);
    case DType::kQ3_0:
      return detail::best_scale<kLevelsQ3>(x);
    case DType::kQ2_0:
      return detail::best_scale<kLevelsQ2>(x);
    default:
      fail_levels(dtype);
  }
}

[[gnu::target("avx2")]] float search_avx2(DType dtype, const float* x) { return search(dtype, x); }
float search_portable(DType dtype, const float* x) { return search(dtype, x); }

}  // namespace

bool has_levels(DType dtype) {
  return dtype == DType::kQ8_0 || dtype == DType::kQ4_0 || dtype == DType::kQ3_0 ||
         dtype == DType::kQ2_0;
}

BlockLevels levels_of(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return kLevelsQ8;
    case DType::kQ4_0:
      return kLevelsQ4;
    case DType::kQ3_0:
      return kLevelsQ3;
    case DType::kQ2_0:
      return kLevelsQ2;
    default:
      fail_levels(dtype);
  }
}

float best_scale_of(DType dtype, const float* elements) {
  static float (*const run)(DType, const float*) =
      cpu_features().avx2 ? search_avx2 : search_portable;
  return run(dtype, elements);
}

void store_block(DType dtype, float scale, const std::int8_t* levels, std::byte* block) {
  switch (dtype) {
    case DType::kQ8_0:
      return detail::store(scale, levels, *reinterpret_cast<BlockQ8_0*>(block));
    case DType::kQ4_0:
      return detail::store(scale, levels, *reinterpret_cast<BlockQ4_0*>(block));
    case DType::kQ3_0:
      return detail::store(scale, levels, *reinterpret_cast<BlockQ3_0*>(block));
    case DType::kQ2_0:
      return detail::store(scale, levels, *reinterpret_cast<BlockQ2_0*>(block));
    default:
      fail_levels(dtype);
  }
}

}  // namespace talpa
