#include "numeric/block_pool.h"

#include <cstdlib>

#include "base/check.h"

namespace bitfold {
namespace {

constexpr std::size_t kAlignment = 64;  // one cache line, one AVX-512 vector

thread_local BlockPool* pool_in_use = nullptr;

}  // namespace

BlockPool::~BlockPool() {
  for (const auto& [bytes, data] : kept_) std::free(data);
}

std::size_t BlockPool::kept_bytes() const {
  std::size_t sum = 0;
  for (const auto& [bytes, data] : kept_) sum += bytes;
  return sum;
}

BlockPool::Use::Use(BlockPool& pool) : outer_(pool_in_use) { pool_in_use = &pool; }
BlockPool::Use::~Use() { pool_in_use = outer_; }

BlockPool::Block BlockPool::take(std::size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (pool_in_use != nullptr && bytes >= kLeastBytes) {
    auto& kept = pool_in_use->kept_;
    // The smallest that is large enough.
    if (const auto it = kept.lower_bound(bytes); it != kept.end()) {
      const Block block{it->second, it->first};
      kept.erase(it);
      return block;
    }
  }
  const Block block{static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)), bytes};
  check(block.data != nullptr, "out of memory: {} bytes are needed", bytes);
  return block;
}

void BlockPool::give_back(Block block) {
  if (pool_in_use != nullptr && block.bytes >= kLeastBytes)
    pool_in_use->kept_.emplace(block.bytes, block.data);
  else
    std::free(block.data);
}

PooledBytes::PooledBytes(std::size_t bytes) : block_(BlockPool::take(bytes)) {}

}  // namespace bitfold
