#include "engine/memory_planner.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <queue>
#include <set>
#include <utility>

namespace bitfold::engine {
namespace {

/// Above this number of pairs of simultaneously live blocks, blocks are placed in one pass; each pair needs two
/// indices.
constexpr std::size_t kMaxPairs = std::size_t{1} << 21;
/// Maximum number of pairs visited over all attempts: some 50 ms.
constexpr std::size_t kMaxVisits = std::size_t{1} << 23;
constexpr std::size_t kMaxAttempts = 100;
constexpr std::size_t kMaxMiddles = 256;

std::size_t aligned(std::size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

struct Range {
  std::size_t begin = 0, end = 0;
};

using Order = std::vector<std::uint32_t>;

Order by_start(std::span<const Block> blocks) {
  Order order(blocks.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return std::pair(blocks[a].first, blocks[b].bytes) < std::pair(blocks[b].first, blocks[a].bytes);
  });
  return order;
}

/// For each block, the blocks whose lifetimes overlap its own.
class Overlaps {
 public:
  /// Empty if there are more than kMaxPairs pairs.
  static std::optional<Overlaps> find(std::span<const Block> blocks) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
    Order alive;
    for (const std::uint32_t i : by_start(blocks)) {
      std::erase_if(alive, [&](auto j) { return blocks[j].last < blocks[i].first; });
      if (pairs.size() + alive.size() > kMaxPairs) return std::nullopt;
      for (const std::uint32_t j : alive) pairs.emplace_back(i, j);
      alive.push_back(i);
    }
    Overlaps out;
    out.begins_.assign(blocks.size() + 1, 0);
    for (const auto& [i, j] : pairs) ++out.begins_[i + 1], ++out.begins_[j + 1];
    std::partial_sum(out.begins_.begin(), out.begins_.end(), out.begins_.begin());
    out.others_.resize(2 * pairs.size());
    std::vector<std::size_t> next(out.begins_.begin(), out.begins_.end() - 1);
    for (const auto& [i, j] : pairs) {
      out.others_[next[i]++] = j;
      out.others_[next[j]++] = i;
    }
    return out;
  }

  std::span<const std::uint32_t> of(std::uint32_t block) const {
    return std::span(others_).subspan(begins_[block], begins_[block + 1] - begins_[block]);
  }
  std::size_t count() const { return others_.size(); }

 private:
  std::vector<std::size_t> begins_;
  std::vector<std::uint32_t> others_;
};

/// The offset of the smallest gap of at least `bytes` between `taken` (sorted by begin), or the end of the last range.
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

/// The first offset that centres `bytes` on one of the midpoints and lies in a gap.
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

/// Places the blocks in order: centred on the midpoint of an earlier block, if requested and possible, otherwise in the
/// smallest gap that fits.
Placement place_in_order(std::span<const Block> blocks, const Overlaps& overlaps, const Order& order,
                         bool around_middles) {
  constexpr std::size_t kUnplaced = SIZE_MAX;
  Placement result{.offsets = std::vector<std::size_t>(blocks.size(), kUnplaced)};
  std::vector<std::size_t> middles;
  std::vector<Range> taken;
  for (const std::uint32_t i : order) {
    const std::size_t bytes = aligned(blocks[i].bytes);
    taken.clear();
    for (const std::uint32_t j : overlaps.of(i))
      if (result.offsets[j] != kUnplaced)
        taken.push_back({result.offsets[j], result.offsets[j] + aligned(blocks[j].bytes)});
    std::sort(taken.begin(), taken.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    const auto centered = gap_around(middles, taken, bytes);
    result.offsets[i] = centered ? *centered : best_gap(taken, bytes);
    const std::size_t middle = result.offsets[i] + bytes / 2;
    const bool is_new = around_middles && !centered && middles.size() < kMaxMiddles &&
                        std::find(middles.begin(), middles.end(), middle) == middles.end();
    if (is_new) middles.push_back(middle);
    result.arena_bytes = std::max(result.arena_bytes, result.offsets[i] + bytes);
  }
  return result;
}

/// Moves the first block that ends at the arena's end to the front of the order.
void advance_highest(std::span<const Block> blocks, const Placement& placement, Order& order) {
  const auto reaches_end = [&](std::size_t i) {
    return placement.offsets[i] + aligned(blocks[i].bytes) == placement.arena_bytes;
  };
  const auto highest = std::find_if(order.begin(), order.end(), reaches_end);
  std::rotate(order.begin(), highest, highest + 1);
}

/// The best of several orders, beginning with the order by size.
Placement place_best(std::span<const Block> blocks, const Overlaps& overlaps, std::size_t bound, bool around_middles) {
  const std::size_t visits = overlaps.count() + blocks.size() + 1;
  const std::size_t attempts = std::min(kMaxAttempts, kMaxVisits / visits);
  Order order(blocks.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return blocks[a].bytes > blocks[b].bytes; });
  Placement last = place_in_order(blocks, overlaps, order, around_middles), best = last;
  for (std::size_t attempt = 0; attempt < attempts && best.arena_bytes > bound; ++attempt) {
    advance_highest(blocks, last, order);
    last = place_in_order(blocks, overlaps, order, around_middles);
    if (last.arena_bytes < best.arena_bytes) best = last;
  }
  return best;
}

/// The free ranges below the arena's end, by offset and by size.
class FreeRanges {
 public:
  /// Takes `bytes` from the smallest free range that is large enough; the rest of it stays free. If there is none,
  /// extends the arena.
  std::size_t take(std::size_t bytes) {
    const auto it = by_size_.lower_bound({bytes, 0});
    if (it == by_size_.end()) return extend(bytes);
    const auto [size, begin] = *it;
    remove(begin, size);
    if (size > bytes) insert(begin + bytes, size - bytes);
    return begin;
  }

  void give_back(std::size_t begin, std::size_t bytes) {
    auto next = by_offset_.lower_bound(begin);
    if (next != by_offset_.end() && next->first == begin + bytes) {
      const auto [offset, size] = *next;
      remove(offset, size);
      bytes += size;
    }
    next = by_offset_.lower_bound(begin);
    if (next != by_offset_.begin()) {
      const auto [offset, size] = *std::prev(next);
      if (offset + size == begin) {
        remove(offset, size);
        begin = offset;
        bytes += size;
      }
    }
    insert(begin, bytes);
  }

  std::size_t end() const { return end_; }

 private:
  /// Extends the arena. A free range at its end becomes part of the result.
  std::size_t extend(std::size_t bytes) {
    std::size_t begin = end_;
    if (!by_offset_.empty()) {
      const auto [offset, size] = *std::prev(by_offset_.end());
      if (offset + size == end_) {
        begin = offset;
        remove(offset, size);
      }
    }
    end_ = begin + bytes;
    return begin;
  }
  void insert(std::size_t begin, std::size_t bytes) {
    by_offset_.emplace(begin, bytes);
    by_size_.emplace(bytes, begin);
  }
  void remove(std::size_t begin, std::size_t bytes) {
    by_offset_.erase(begin);
    by_size_.erase({bytes, begin});
  }

  std::map<std::size_t, std::size_t> by_offset_;
  std::set<std::pair<std::size_t, std::size_t>> by_size_;
  std::size_t end_ = 0;
};

/// Places blocks in the order of the steps, each in the smallest range that is free at the start of its lifetime.
Placement place_by_start(std::span<const Block> blocks) {
  Placement result{.offsets = std::vector<std::size_t>(blocks.size(), 0)};
  FreeRanges free;
  using Ending = std::pair<int, std::uint32_t>;
  std::priority_queue<Ending, std::vector<Ending>, std::greater<>> alive;
  for (const std::uint32_t i : by_start(blocks)) {
    for (; !alive.empty() && alive.top().first < blocks[i].first; alive.pop()) {
      const std::uint32_t ended = alive.top().second;
      free.give_back(result.offsets[ended], aligned(blocks[ended].bytes));
    }
    const std::size_t bytes = aligned(blocks[i].bytes);
    if (bytes == 0) continue;
    result.offsets[i] = free.take(bytes);
    alive.emplace(blocks[i].last, i);
  }
  result.arena_bytes = free.end();
  return result;
}

}  // namespace

Placement place_blocks(std::span<const Block> blocks, int threads) {
  const auto overlaps = Overlaps::find(blocks);
  if (!overlaps) return place_by_start(blocks);
  const std::size_t bound = arena_lower_bound(blocks);
  if (threads > 1) {
    Placement centered = place_best(blocks, *overlaps, bound, true);
    constexpr std::size_t kParts = 10;
    if (centered.arena_bytes <= bound + bound / kParts) return centered;
  }
  return place_best(blocks, *overlaps, bound, false);
}

std::size_t arena_lower_bound(std::span<const Block> blocks) {
  std::vector<std::pair<int, std::size_t>> starts, ends;  // step, and the bytes that start at it or end before it
  for (const Block& b : blocks) {
    starts.emplace_back(b.first, aligned(b.bytes));
    ends.emplace_back(b.last + 1, aligned(b.bytes));
  }
  std::sort(starts.begin(), starts.end());
  std::sort(ends.begin(), ends.end());
  std::size_t live = 0, highest = 0;
  auto end = ends.begin();
  for (const auto& [step, bytes] : starts) {
    for (; end != ends.end() && end->first <= step; ++end) live -= end->second;
    live += bytes;
    highest = std::max(highest, live);
  }
  return highest;
}

}  // namespace bitfold::engine
