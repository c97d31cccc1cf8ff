#include "engine/memory_planner.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>

namespace bitfold::engine {
namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

bool meet(const Block& a, const Block& b) { return a.first <= b.last && b.first <= a.last; }

struct Range {
  std::size_t begin = 0, end = 0;
};

/// The offset of the smallest gap of at least `bytes` between `taken` (sorted by begin), or the end of them all.
std::size_t best_gap(const std::vector<Range>& taken, std::size_t bytes) {
  std::size_t best = SIZE_MAX, best_waste = SIZE_MAX, end = 0;
  for (const Range& r : taken) {
    if (r.begin >= end + bytes && r.begin - end - bytes < best_waste) {
      best = end;
      best_waste = r.begin - end - bytes;
    }
    end = std::max(end, r.end);
  }
  return best == SIZE_MAX ? end : best;
}

using Order = std::vector<std::size_t>;

/// Each block in turn into the smallest gap that holds it.
Placement place_in_order(std::span<const Block> blocks, const Order& order) {
  Placement result{.offsets = std::vector<std::size_t>(blocks.size(), 0)};
  std::vector<std::size_t> placed;
  for (std::size_t i : order) {
    const std::size_t bytes = aligned(blocks[i].bytes);
    std::vector<Range> taken;
    for (std::size_t j : placed)
      if (meet(blocks[i], blocks[j]))
        taken.push_back({result.offsets[j], result.offsets[j] + aligned(blocks[j].bytes)});
    std::sort(taken.begin(), taken.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    result.offsets[i] = best_gap(taken, bytes);
    result.arena_bytes = std::max(result.arena_bytes, result.offsets[i] + bytes);
    placed.push_back(i);
  }
  return result;
}

/// Moves the first block that reaches the arena's end to the front of the order.
void advance_highest(std::span<const Block> blocks, const Placement& placement, Order& order) {
  const auto reaches_end = [&](std::size_t i) {
    return placement.offsets[i] + aligned(blocks[i].bytes) == placement.arena_bytes;
  };
  const auto highest = std::find_if(order.begin(), order.end(), reaches_end);
  std::rotate(order.begin(), highest, highest + 1);
}

}  // namespace

Placement place_blocks(std::span<const Block> blocks) {
  constexpr int kAttempts = 100;
  const std::size_t bound = arena_lower_bound(blocks);
  Order order(blocks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return blocks[a].bytes > blocks[b].bytes; });
  Placement last = place_in_order(blocks, order), best = last;
  for (int attempt = 0; attempt < kAttempts && best.arena_bytes > bound; ++attempt) {
    advance_highest(blocks, last, order);
    last = place_in_order(blocks, order);
    if (last.arena_bytes < best.arena_bytes) best = last;
  }
  return best;
}

std::size_t arena_lower_bound(std::span<const Block> blocks) {
  std::map<int, std::size_t> starts, ends;  // step -> bytes that begin there, bytes that end before it
  for (const Block& b : blocks) {
    starts[b.first] += aligned(b.bytes);
    ends[b.last + 1] += aligned(b.bytes);
    starts[b.last + 1] += 0;
  }
  std::size_t live = 0, most = 0;
  for (const auto& [step, bytes] : starts) {
    if (const auto it = ends.find(step); it != ends.end()) live -= it->second;
    live += bytes;
    most = std::max(most, live);
  }
  return most;
}

}  // namespace bitfold::engine
