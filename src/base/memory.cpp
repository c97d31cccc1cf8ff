#include "base/memory.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace bitfold {
namespace {

constexpr std::size_t kAlignment = 64;      // a cache line, an AVX-512 vector
constexpr std::size_t kReadableTail = 256;  // four AVX-512 vectors
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kMinBlock = std::size_t{64} << 10, kMaxBlock = std::size_t{32} << 20;

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

/// Not cleared, so that pages that are never written take no memory.
std::shared_ptr<std::byte> allocate(std::size_t bytes) {
  const std::size_t padded = round_up(bytes + kReadableTail, kAlignment), pages = round_up(padded, kHugePage);
  const bool is_huge = pages - padded <= padded / 4;
  const std::size_t size = is_huge ? pages : padded;
  void* memory = std::aligned_alloc(is_huge ? kHugePage : kAlignment, size);
  check(memory != nullptr, "out of memory: {} bytes are needed", size);
  if (is_huge) prefer_huge_pages(static_cast<std::byte*>(memory), size);
  return {static_cast<std::byte*>(memory), [](std::byte* p) { std::free(p); }};
}

}  // namespace

void prefer_huge_pages([[maybe_unused]] std::byte* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  const auto begin = reinterpret_cast<std::uintptr_t>(memory), first = round_up(begin, kHugePage);
  const std::uintptr_t end = (begin + bytes) / kHugePage * kHugePage;
  if (first < end) (void)madvise(memory + (first - begin), end - first, MADV_HUGEPAGE);
#endif
}

std::shared_ptr<std::byte> allocate_zeroed(std::size_t bytes) {
  auto memory = allocate(bytes);
  std::memset(memory.get(), 0, bytes + kReadableTail);
  return memory;
}

std::shared_ptr<std::byte> MemoryPieces::take(std::size_t bytes) {
  const std::size_t padded = round_up(std::max<std::size_t>(bytes, 1), kAlignment);
  if (used_ + padded > size_) {
    // A new block is as large as all earlier ones together, so that large networks have few blocks and small ones waste
    // little.
    std::size_t size = std::max(padded, std::clamp(total_, kMinBlock, kMaxBlock));
    if (size >= kHugePage) size = round_up(size + kReadableTail, kHugePage) - kReadableTail;
    block_ = allocate(size);  // may throw; the sizes must still describe the last block then
    size_ = size;
    total_ += size;
    used_ = 0;
  }
  std::byte* piece = block_.get() + used_;
  used_ += padded;
  std::memset(piece, 0, std::min(padded + kReadableTail, size_ + kReadableTail - (used_ - padded)));
  return {block_, piece};
}

}  // namespace bitfold
