// Memory that is read again and again: weights and the arena of a plan.
//
// What fills megabytes lies in huge pages (2 MiB) where the system has them for those who ask: a network's weights are
// more pages of 4 KiB than a CPU keeps the addresses of, and each run would look all of them up again.
#pragma once

#include <cstddef>
#include <memory>

namespace bitfold {

/// Asks the system for huge pages where the memory spans whole ones; refused, it keeps small ones. Before the first
/// write.
void prefer_huge_pages(std::byte* memory, std::size_t bytes);

/// Zeros, aligned to 64 bytes; whole vectors may be read past the end. Throws Error when there is no memory.
std::shared_ptr<std::byte> allocate_zeroed(std::size_t bytes);

/// Hands out such memory piece by piece, side by side, so that small pieces come to lie in huge pages, too. A piece
/// keeps the block it is of. Not thread-safe.
class MemoryPieces {
 public:
  std::shared_ptr<std::byte> take(std::size_t bytes);

 private:
  std::shared_ptr<std::byte> block_;
  std::size_t used_ = 0, size_ = 0;
  std::size_t total_ = 0;  ///< Of all blocks.
};

}  // namespace bitfold
