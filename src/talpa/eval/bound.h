#pragma once

#include "talpa/base/stopwatch.h"
#include "talpa/format/dtype.h"
#include "talpa/kernel/limits.h"

namespace talpa {

/// What a computation has to do whatever its implementation.
struct Work {
  double bytes = 0;             ///< read from memory
  double operations = 0;        ///< of products with weights; a multiply-add counts two
  double float_operations = 0;  ///< of products in fp32 besides: attention
};

/// The limit that work meets first, and how near it came.
struct LimitShare {
  bool by_memory = false;
  const char* limit = "";     ///< "memory", "fp32", "bf16" or "int8"
  double of_second = 0;       ///< least time by the clock that the limits allow / measured time
  double of_core_second = 0;  ///< the same of CPU time
};

/// Least time is that of reading or that of arithmetic, whichever is longer. Arithmetic on weights
/// held in blocks counts against int8, on F32 and F16 against fp32, on BF16 against the faster of
/// fp32 and bf16.
LimitShare limit_share(const Work& work, DType held, const Elapsed& measured,
                       const ThreadLimits& limits);

}  // namespace talpa
