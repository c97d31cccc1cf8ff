#include "base/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace bitfold {
namespace {

bool is_zero(const std::byte* p, std::size_t bytes) {
  return std::all_of(p, p + bytes, [](std::byte b) { return b == std::byte{0}; });
}

std::uintptr_t address(const std::shared_ptr<std::byte>& p) { return reinterpret_cast<std::uintptr_t>(p.get()); }

TEST(Memory, is_zeroed_and_aligned_for_every_size) {
  for (std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{4096}, (std::size_t{7} << 18),
                            (std::size_t{2} << 20) + 1, std::size_t{5} << 20}) {
    const auto memory = allocate_zeroed(bytes);
    EXPECT_EQ(address(memory) % 64, 0U);
    EXPECT_TRUE(is_zero(memory.get(), bytes + 256));
  }
}

TEST(Memory, pieces_are_zeroed_aligned_disjoint_and_outlive_their_allocator) {
  std::vector<std::pair<std::shared_ptr<std::byte>, std::size_t>> taken;
  {
    MemoryPieces pieces;
    for (std::size_t i = 0; i < 200; ++i) {
      const std::size_t bytes = i % 50 == 49 ? std::size_t{3} << 20 : i * 977;
      auto piece = pieces.take(bytes);
      ASSERT_EQ(address(piece) % 64, 0U);
      ASSERT_TRUE(is_zero(piece.get(), bytes));
      std::fill_n(piece.get(), bytes, static_cast<std::byte>(i + 1));
      taken.emplace_back(std::move(piece), bytes);
    }
  }
  for (std::size_t i = 0; i < taken.size(); ++i)
    EXPECT_TRUE(std::all_of(taken[i].first.get(), taken[i].first.get() + taken[i].second,
                            [&](std::byte b) { return b == static_cast<std::byte>(i + 1); }));
}

}  // namespace
}  // namespace bitfold
