#include "engine/memory_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace bitfold::engine {
namespace {

void expect_valid(const std::vector<Block>& blocks, const Placement& placement) {
  ASSERT_EQ(placement.offsets.size(), blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(placement.offsets[i] % kArenaAlignment, 0U);
    EXPECT_LE(placement.offsets[i] + blocks[i].bytes, placement.arena_bytes);
    for (std::size_t j = 0; j < i; ++j) {
      const bool both_live = blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;
      const bool apart = placement.offsets[i] + blocks[i].bytes <= placement.offsets[j] ||
                         placement.offsets[j] + blocks[j].bytes <= placement.offsets[i];
      EXPECT_TRUE(!both_live || apart) << "blocks " << i << " and " << j;
    }
  }
}

TEST(MemoryPlanner, live_blocks_never_overlap_and_stay_near_the_lower_bound) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Block> blocks(1 + random() % 40);
    for (Block& b : blocks) {
      b.bytes = random() % 5 == 0 ? random() % 3 : random() % 5000;
      b.first = static_cast<int>(random() % 30);
      b.last = b.first + static_cast<int>(random() % 6);
    }
    const Placement placement = place_blocks(blocks);
    expect_valid(blocks, placement);
    const Placement for_threads = place_blocks(blocks, 2);
    expect_valid(blocks, for_threads);
    EXPECT_LE(for_threads.arena_bytes, std::max(placement.arena_bytes, arena_lower_bound(blocks) * 11 / 10));
    EXPECT_GE(placement.arena_bytes, arena_lower_bound(blocks));
    EXPECT_LE(placement.arena_bytes, 2 * arena_lower_bound(blocks));
  }
}

TEST(MemoryPlanner, a_chain_reaches_the_lower_bound) {
  // Only the next step reads each block, so two blocks are live at a time.
  std::vector<Block> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({.bytes = i % 2 == 0 ? 4096U : 1024U, .first = i, .last = i + 1});
  const Placement placement = place_blocks(chain);
  expect_valid(chain, placement);
  EXPECT_EQ(arena_lower_bound(chain), 5120U);
  EXPECT_EQ(placement.arena_bytes, 5120U);
}

TEST(MemoryPlanner, with_several_threads_blocks_are_centred_on_larger_ones) {
  const std::vector<Block> blocks{{4096, 0, 1}, {1024, 2, 3}, {2048, 4, 4}, {1024, 3, 5}};
  const Placement placement = place_blocks(blocks, 2);
  expect_valid(blocks, placement);
  EXPECT_EQ(placement.arena_bytes, 4096U);
  const auto middle = [&](std::size_t i) { return placement.offsets[i] + blocks[i].bytes / 2; };
  EXPECT_EQ(middle(1), middle(0));
  EXPECT_EQ(middle(2), middle(0));
  EXPECT_NE(middle(3), middle(0)) << "the place is taken";
}

TEST(MemoryPlanner, centring_blocks_enlarges_the_arena_by_at_most_a_tenth) {
  // If the second block is centred on the first, no room is left for the third.
  const std::vector<Block> blocks{{4096, 0, 0}, {1024, 1, 2}, {3072, 1, 1}};
  const Placement placement = place_blocks(blocks, 2);
  expect_valid(blocks, placement);
  EXPECT_EQ(placement.arena_bytes, 4096U);
}

TEST(MemoryPlanner, tens_of_thousands_of_blocks_alive_together_are_placed_in_one_pass) {
  std::mt19937 random(3);
  std::vector<Block> blocks;
  constexpr int kCount = 20'000;
  for (int i = 0; i < kCount; ++i) blocks.push_back({64 * (1 + random() % 4), i, kCount});
  // Short-lived blocks whose place the next ones can reuse.
  for (int i = 0; i < kCount; ++i) blocks.push_back({256, i, i});
  const Placement placement = place_blocks(blocks, 2);
  std::vector<std::size_t> order(blocks.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.begin() + kCount,
            [&](auto a, auto b) { return placement.offsets[a] < placement.offsets[b]; });
  for (int i = 1; i < kCount; ++i)
    ASSERT_LE(placement.offsets[order[static_cast<std::size_t>(i) - 1]] +
                  blocks[order[static_cast<std::size_t>(i) - 1]].bytes,
              placement.offsets[order[static_cast<std::size_t>(i)]]);
  EXPECT_LE(placement.arena_bytes, arena_lower_bound(blocks) * 11 / 10);
}

TEST(MemoryPlanner, one_pass_never_overlaps_live_blocks) {
  std::mt19937 random(9);
  std::vector<Block> blocks(3'000);
  for (Block& b : blocks) {
    b.bytes = random() % 7 == 0 ? 0 : random() % 5000;
    b.first = static_cast<int>(random() % 100);
    b.last = b.first + static_cast<int>(random() % 200);
  }
  const Placement placement = place_blocks(blocks);
  expect_valid(blocks, placement);
  EXPECT_LE(placement.arena_bytes, 2 * arena_lower_bound(blocks));
}

TEST(MemoryPlanner, lower_bound_counts_blocks_that_share_a_step) {
  const std::vector<Block> blocks{{64, 0, 2}, {128, 2, 3}, {64, 3, 3}};
  EXPECT_EQ(arena_lower_bound(blocks), 192U);
  EXPECT_EQ(arena_lower_bound({}), 0U);
}

TEST(MemoryPlanner, no_blocks_need_no_arena) { EXPECT_EQ(place_blocks({}).arena_bytes, 0U); }

}  // namespace
}  // namespace bitfold::engine
