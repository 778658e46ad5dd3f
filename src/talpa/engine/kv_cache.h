#pragma once

#include <span>
#include <vector>

#include "talpa/engine/model.h"
#include "talpa/kernel/attention.h"

namespace talpa {

/// Keys and values in chunks of kKvChunk tokens a layer, allocated as tokens come. Chunks that are
/// full are never written again, so that sequences may share them.
struct KvCache::Layers {
  AttentionShape shape;
  int length = 0;
  int capacity = 0;
  std::vector<std::vector<KvChunk>> chunks;  ///< [layer][chunk]

  /// Makes room for positions below `length` in every layer.
  void reserve(int length);
  std::byte* chunk_of(int layer, int position) { return chunks[layer][position / kKvChunk].data(); }
};

}  // namespace talpa
