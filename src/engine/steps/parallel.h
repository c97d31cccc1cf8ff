// Divides a step's work among the threads of a team.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/team.h"

namespace bitfold::engine {

/// Minimum work per thread in multiply-accumulates; a byte moved counts as about 8. Cache lines that one core has just
/// written take some 5 us per layer to reach another core, and one core does about this much work in that time.
constexpr std::int64_t kWorkPerThread = 500'000;

/// The number of threads with which this much work takes the least time.
inline int useful_threads(int threads, std::int64_t work) {
  return static_cast<int>(std::clamp<std::int64_t>(work / kWorkPerThread, 1, threads));
}

/// Calls body(begin, end, part) on this thread's part of [0, count). Parts are even and numbered below `threads`. The
/// division does not change results: each unit is computed on its own.
template <class Body>
void for_each_numbered_part(const Team& team, int threads, std::int64_t count, Body body) noexcept {
  const int parts = std::min(threads, team.size()), part = team.rank();
  if (part < parts) body(count * part / parts, count * (part + 1) / parts, part);
}

/// Calls body(begin, end) on this thread's part of [0, count).
template <class Body>
void for_each_part(const Team& team, int threads, std::int64_t count, Body body) noexcept {
  for_each_numbered_part(team, threads, count, [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

/// Calls body(image, first, count) on runs of rows that together form equal parts of all rows of all images.
template <class Body>
void for_each_run(const Team& team, int threads, std::int64_t images, std::int64_t rows, Body body) noexcept {
  for_each_part(team, threads, images * rows, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t first = begin % rows, count = std::min(rows - first, end - begin);
      body(begin / rows, first, count);
      begin += count;
    }
  });
}

}  // namespace bitfold::engine
