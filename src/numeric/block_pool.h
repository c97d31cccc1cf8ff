// Memory of tensors that come and go again and again, as those of a network's runs do.
//
// Left to malloc, megabytes that several threads take and give back in turn scatter over its arenas: the process grows
// with the number of runs. Blocks of a pool are used again instead: after the first run nothing new is taken.
#pragma once

#include <cstddef>
#include <map>

namespace bitfold {

/// Keeps freed blocks for the next tensors of the thread that uses it. Blocks may outlive the pool and may be freed by
/// any thread. Not thread-safe: one thread uses it at a time.
class BlockPool {
 public:
  /// Blocks below this many bytes are malloc's.
  static constexpr std::size_t kLeastBytes = std::size_t{1} << 10;
  /// Tensors below this many take no block of more.
  static constexpr std::size_t kLargeBytes = std::size_t{32} << 10;

  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool();

  /// While it lives, tensors of this thread take their memory from `pool` and give it back there.
  class Use {
   public:
    explicit Use(BlockPool& pool);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    BlockPool* outer_;
  };

  /// Whether this thread uses a pool. Who lends its own to what it hands out does so only where there is none: blocks
  /// that leave one pool and are given back to another are missed in the first and heaped up in the second.
  static bool is_one_in_use();

  /// Bytes kept for the next tensors.
  std::size_t kept_bytes() const;

  struct Block {
    std::byte* data;    ///< Aligned to 64 bytes, not cleared.
    std::size_t bytes;  ///< At least as many as were asked for.
  };
  /// From the pool this thread uses, or from malloc. Throws Error when there is no memory.
  static Block take(std::size_t bytes);
  static void give_back(Block block);

 private:
  std::multimap<std::size_t, std::byte*> kept_;  ///< By size.
};

/// A block held until the end of its scope.
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
