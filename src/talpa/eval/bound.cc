#include "talpa/eval/bound.h"

#include <algorithm>

namespace talpa {

namespace {

struct NamedRate {
  const char* name;
  const Rate& rate;
};

NamedRate arithmetic_limit(DType held, const ThreadLimits& limits) {
  if (is_quantised(held)) return {"int8", limits.int8};
  if (held == DType::kBF16 && limits.bf16.per_second > limits.fp32.per_second)
    return {"bf16", limits.bf16};
  return {"fp32", limits.fp32};
}

struct LeastTime {
  double reading, arithmetic;

  LeastTime(const Work& work, const ThreadLimits& limits, const Rate& products, double Rate::*per)
      : reading(work.bytes / limits.dram_read.*per),
        arithmetic(work.operations / products.*per + work.float_operations / limits.fp32.*per) {}
  double longer() const { return std::max(reading, arithmetic); }
};

}  // namespace

LimitShare limit_share(const Work& work, DType held, const Elapsed& measured,
                       const ThreadLimits& limits) {
  const NamedRate products = arithmetic_limit(held, limits);
  const LeastTime wall(work, limits, products.rate, &Rate::per_second);
  const LeastTime cpu(work, limits, products.rate, &Rate::per_core_second);
  const bool by_memory = wall.reading >= wall.arithmetic;
  return {.by_memory = by_memory,
          .limit = by_memory ? "memory" : products.name,
          .of_second = wall.longer() / measured.wall,
          .of_core_second = cpu.longer() / measured.cpu};
}

}  // namespace talpa
