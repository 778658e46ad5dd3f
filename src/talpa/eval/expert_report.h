#pragma once

#include <string>

#include "talpa/base/config.h"
#include "talpa/engine/model.h"

namespace talpa {

/// {hits, misses, hit_rate, evictions, bytes_formed, bytes, capacity}, or null.
Json to_json(const std::optional<ExpertCacheStats>& cache);

/// "91.2 % of 640 experts found in the cache, 12 MB formed".
std::string describe(const ExpertCacheStats& cache);

}  // namespace talpa
