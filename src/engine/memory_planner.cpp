#include "engine/memory_planner.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>

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

/// The first of the offsets at which `bytes` have one of the middles, and lie in a gap.
std::optional<std::size_t> gap_around(const std::vector<std::size_t>& middles, const std::vector<Range>& taken,
                                      std::size_t bytes) {
  for (const std::size_t middle : middles) {
    if (middle < bytes / 2) continue;
    const std::size_t begin = (middle - bytes / 2) / kArenaAlignment * kArenaAlignment;
    const auto is_apart = [&](const Range& r) { return begin + bytes <= r.begin || r.end <= begin; };
    if (std::all_of(taken.begin(), taken.end(), is_apart)) return begin;
  }
  return std::nullopt;
}

using Order = std::vector<std::size_t>;

/// Each block in turn around the middle of one placed before, where that is wanted and there is room; otherwise into
/// the smallest gap that holds it.
Placement place_in_order(std::span<const Block> blocks, const Order& order, bool around_middles) {
  Placement result{.offsets = std::vector<std::size_t>(blocks.size(), 0)};
  std::vector<std::size_t> placed, middles;
  for (std::size_t i : order) {
    const std::size_t bytes = aligned(blocks[i].bytes);
    std::vector<Range> taken;
    for (std::size_t j : placed)
      if (meet(blocks[i], blocks[j]))
        taken.push_back({result.offsets[j], result.offsets[j] + aligned(blocks[j].bytes)});
    std::sort(taken.begin(), taken.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    const auto centered = gap_around(middles, taken, bytes);
    result.offsets[i] = centered ? *centered : best_gap(taken, bytes);
    const std::size_t middle = result.offsets[i] + bytes / 2;
    const bool is_new = !centered && std::find(middles.begin(), middles.end(), middle) == middles.end();
    if (around_middles && is_new) middles.push_back(middle);
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

/// The best of several orders, the first of which is by size.
Placement place_best(std::span<const Block> blocks, bool around_middles) {
  constexpr int kAttempts = 100;
  const std::size_t bound = arena_lower_bound(blocks);
  Order order(blocks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return blocks[a].bytes > blocks[b].bytes; });
  Placement last = place_in_order(blocks, order, around_middles), best = last;
  for (int attempt = 0; attempt < kAttempts && best.arena_bytes > bound; ++attempt) {
    advance_highest(blocks, last, order);
    last = place_in_order(blocks, order, around_middles);
    if (last.arena_bytes < best.arena_bytes) best = last;
  }
  return best;
}

}  // namespace

Placement place_blocks(std::span<const Block> blocks, int threads) {
  if (threads > 1) {
    Placement centered = place_best(blocks, true);
    const std::size_t bound = arena_lower_bound(blocks);
    constexpr std::size_t kParts = 10;  // one of them more is a price worth paying
    if (centered.arena_bytes <= bound + bound / kParts) return centered;
  }
  return place_best(blocks, false);
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
