// Memory that is read in every run: weights, and the arena of a plan.
//
// Large blocks use huge pages (2 MiB) if the system grants them on request. The weights of a network span more 4 KiB
// pages than a CPU's TLB has entries, so that each run would look all of them up again.
#pragma once

#include <cstddef>
#include <memory>

namespace bitfold {

/// Requests huge pages for the part of the memory that fills whole ones. If the system refuses, small pages are used.
/// Call before the first write.
void prefer_huge_pages(std::byte* memory, std::size_t bytes);

/// Zeros, aligned to 64 bytes. Whole vectors may be read past the end. Throws Error if memory runs out.
std::shared_ptr<std::byte> allocate_zeroed(std::size_t bytes);

/// Throws Error, "8.0 GB, more than ...", if `bytes` exceed `limit`; 0 means usable_memory().
void check_fits_memory(std::size_t bytes, std::size_t limit);

/// `limit` if it is set, else the limit of limit_memory(). 0 if neither is set: then the available memory is the limit.
std::size_t fixed_memory_limit(std::size_t limit);

/// Allocates zeroed memory in adjacent pieces, so that small pieces share huge pages. A piece keeps its block alive.
/// Not thread-safe.
class MemoryPieces {
 public:
  std::shared_ptr<std::byte> take(std::size_t bytes);

 private:
  std::shared_ptr<std::byte> block_;
  std::size_t used_ = 0, size_ = 0;
  std::size_t total_ = 0;  ///< Bytes of all blocks.
};

}  // namespace bitfold
