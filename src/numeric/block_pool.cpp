#include "numeric/block_pool.h"

#include <cstdlib>

#include "base/check.h"
#include "base/memory.h"

namespace bitfold {
namespace {

constexpr std::size_t kAlignment = 64;  // one cache line, one AVX-512 vector

constexpr std::size_t kManyPages = std::size_t{4} << 20;  // bytes

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

bool BlockPool::is_one_in_use() { return pool_in_use != nullptr; }

BlockPool::Block BlockPool::take(std::size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (pool_in_use != nullptr && bytes >= kMinBytes) {
    auto& kept = pool_in_use->kept_;
    // The smallest block that is large enough.
    const auto it = kept.lower_bound(bytes);
    if (it != kept.end() && (bytes >= kLargeBytes || it->first < kLargeBytes)) {
      const Block block{it->second, it->first};
      kept.erase(it);
      return block;
    }
  }
  const Block block{static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)), bytes};
  check(block.data != nullptr, "out of memory: {} bytes are needed", bytes);
  // The system clears memory page by page at the first write; for many small pages, that takes longer than filling the
  // tensor.
  if (block.bytes >= kManyPages) prefer_huge_pages(block.data, block.bytes);
  return block;
}

void BlockPool::give_back(Block block) {
  if (pool_in_use != nullptr && block.bytes >= kMinBytes)
    pool_in_use->kept_.emplace(block.bytes, block.data);
  else
    std::free(block.data);
}

PooledBytes::PooledBytes(std::size_t bytes) : block_(BlockPool::take(bytes)) {}

}  // namespace bitfold
