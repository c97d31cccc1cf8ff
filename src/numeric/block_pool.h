// Memory for tensors that are allocated and freed repeatedly, such as those of a network's runs.
//
// With malloc, megabytes that several threads allocate and free in turn are scattered over its arenas, and the process
// grows with the number of runs. A pool reuses its blocks, so that nothing new is allocated after the first run.
#pragma once

#include <cstddef>
#include <map>

namespace bitfold {

/// Keeps freed blocks for the next tensors of the thread that uses it. Blocks may outlive the pool, and any thread may
/// free them. Not thread-safe: one thread uses it at a time.
class BlockPool {
 public:
  /// Blocks below this many bytes are allocated with malloc.
  static constexpr std::size_t kMinBytes = std::size_t{1} << 10;
  /// Tensors smaller than this never use a block larger than this.
  static constexpr std::size_t kLargeBytes = std::size_t{32} << 10;

  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();

  /// While it exists, tensors of this thread allocate from and return to `pool`.
  class Use {
   public:
    explicit Use(BlockPool& pool);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    BlockPool* outer_;
  };

  /// Whether this thread uses a pool. A function that allocates its results from its own pool must do so only if the
  /// caller has no pool; otherwise blocks leave one pool and accumulate in another.
  static bool is_one_in_use();

  /// Bytes kept for the next tensors.
  std::size_t kept_bytes() const;

  struct Block {
    std::byte* data;    ///< Aligned to 64 bytes, not cleared.
    std::size_t bytes;  ///< Size of the block; at least the requested size.
  };
  /// Allocates from the pool of this thread, or with malloc. Throws Error if memory runs out.
  static Block take(std::size_t bytes);
  static void give_back(Block block);

 private:
  std::multimap<std::size_t, std::byte*> kept_;  ///< By size.
};

/// Holds a block until the end of its scope.
class PooledBytes {
 public:
  explicit PooledBytes(std::size_t bytes);
  ~PooledBytes() { BlockPool::give_back(block_); }
  PooledBytes(const PooledBytes&) = delete;
  PooledBytes& operator=(const PooledBytes&) = delete;

  std::byte* data() const { return block_.data; }

 private:
  BlockPool::Block block_;
};

}  // namespace bitfold
