// Dividing a step's work among cores.
#pragma once

#include <algorithm>
#include <cstdint>

namespace bitfold::engine {

/// Multiply-accumulates (or bytes moved, times about 8) below which a second core costs more than it brings: waking a
/// team takes some 5 us, in which one core does about this many.
constexpr std::int64_t kWorkPerThread = 500'000;

/// How many threads are worth it for so much work.
inline int useful_threads(int threads, std::int64_t work) {
  return static_cast<int>(std::clamp<std::int64_t>(work / kWorkPerThread, 1, threads));
}

/// Calls body(begin, end, part) on even parts of [0, count), numbered below `threads`. The parts do not change results:
/// each unit is computed alone.
template <class Body>
void for_each_numbered_part(int threads, std::int64_t count, Body body) noexcept {
  if (threads <= 1) return body(std::int64_t{0}, count, 0);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int t = 0; t < threads; ++t) body(count * t / threads, count * (t + 1) / threads, t);
}

/// Calls body(begin, end).
template <class Body>
void for_each_part(int threads, std::int64_t count, Body body) noexcept {
  for_each_numbered_part(threads, count, [&](std::int64_t begin, std::int64_t end, int) { body(begin, end); });
}

/// Calls body(image, first, count) on runs of rows that together are even parts of all rows of all images.
template <class Body>
void for_each_run(int threads, std::int64_t images, std::int64_t rows, Body body) noexcept {
  for_each_part(threads, images * rows, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t first = begin % rows, count = std::min(rows - first, end - begin);
      body(begin / rows, first, count);
      begin += count;
    }
  });
}

}  // namespace bitfold::engine
