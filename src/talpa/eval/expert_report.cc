#include "talpa/eval/expert_report.h"

#include "talpa/report/table.h"

namespace talpa {

Json to_json(const std::optional<ExpertCacheStats>& cache) {
  if (!cache) return nullptr;
  return {{"hits", cache->hits},
          {"misses", cache->misses},
          {"hit_rate", cache->hit_rate()},
          {"evictions", cache->evictions},
          {"bytes_formed", cache->bytes_formed},
          {"bytes", cache->bytes},
          {"capacity", cache->capacity}};
}

std::string describe(const ExpertCacheStats& cache) {
  return fmt::format("{:.1f} % of {} experts found in the cache, {} formed", 100 * cache.hit_rate(),
                     cache.hits + cache.misses,
                     format_bytes(static_cast<double>(cache.bytes_formed)));
}

}  // namespace talpa
