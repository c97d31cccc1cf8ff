#include "engine/steps/copy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace bitfold::engine {
namespace {

constexpr std::size_t kMaxRank = 16;

/// Drops dimensions of 1, puts the destination's smallest stride innermost and merges dimensions that are contiguous on
/// both sides, so that the innermost loop is as long as possible.
Movement simplified(const Movement& m) {
  struct Axis {
    std::int64_t size, source, destination;
  };
  std::vector<Axis> axes;
  for (std::size_t d = 0; d < m.shape.size(); ++d)
    if (m.shape[d] != 1) axes.push_back({m.shape[d], m.source_strides[d], m.destination_strides[d]});
  std::stable_sort(axes.begin(), axes.end(),
                   [](const Axis& a, const Axis& b) { return a.destination > b.destination; });
  std::vector<Axis> merged;
  for (const Axis& a : axes) {
    if (!merged.empty() && merged.back().source == a.source * a.size &&
        merged.back().destination == a.destination * a.size)
      merged.back() = {merged.back().size * a.size, a.source, a.destination};
    else
      merged.push_back(a);
  }
  if (merged.empty()) merged.push_back({1, 1, 1});
  Movement out{.source_offset = m.source_offset, .destination_offset = m.destination_offset};
  for (const Axis& a : merged) {
    out.shape.push_back(a.size);
    out.source_strides.push_back(a.source);
    out.destination_strides.push_back(a.destination);
  }
  return out;
}

/// Copies the two innermost dimensions. A transposing pair is processed in square tiles, so that both sides stay in the
/// cache.
template <class T>
void copy_plane(const T* from, T* to, std::int64_t rows, std::int64_t columns,
                const std::array<std::int64_t, 4>& strides) {
  const auto [from_row, from_column, to_row, to_column] = strides;
  if (from_column == 1 && to_column == 1) {
    for (std::int64_t r = 0; r < rows; ++r)
      std::memcpy(to + r * to_row, from + r * from_row, static_cast<std::size_t>(columns) * sizeof(T));
    return;
  }
  constexpr std::int64_t kTile = 16;
  for (std::int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
      const std::int64_t r1 = std::min(rows, r0 + kTile), c1 = std::min(columns, c0 + kTile);
      for (std::int64_t r = r0; r < r1; ++r)
        for (std::int64_t c = c0; c < c1; ++c) to[r * to_row + c * to_column] = from[r * from_row + c * from_column];
    }
}

template <class T>
void move(const Movement& m, const T* from, T* to) {
  const std::size_t rank = m.shape.size();
  from += m.source_offset;
  to += m.destination_offset;
  if (rank == 1) return copy_plane(from, to, 1, m.shape[0], {0, m.source_strides[0], 0, m.destination_strides[0]});
  const std::size_t outer = rank - 2;
  std::array<std::int64_t, kMaxRank> index{};
  for (;;) {
    copy_plane(from, to, m.shape[outer], m.shape[outer + 1],
               {m.source_strides[outer], m.source_strides[outer + 1], m.destination_strides[outer],
                m.destination_strides[outer + 1]});
    std::size_t d = outer;
    while (d-- > 0) {
      from += m.source_strides[d];
      to += m.destination_strides[d];
      if (++index[d] < m.shape[d]) break;
      from -= m.source_strides[d] * m.shape[d];
      to -= m.destination_strides[d] * m.shape[d];
      index[d] = 0;
    }
    if (d == static_cast<std::size_t>(-1)) return;
  }
}

}  // namespace

CopyStep::CopyStep(int element_bytes, std::vector<Movement> movements, Fill fill)
    : element_bytes_(element_bytes), fill_(fill) {
  for (const Movement& m : movements) {
    // Empty movements are kept, because operand i + 1 belongs to movement i.
    const bool empty = std::any_of(m.shape.begin(), m.shape.end(), [](auto d) { return d == 0; });
    movements_.push_back(empty ? Movement{.shape = {0}, .source_strides = {1}, .destination_strides = {1}}
                               : simplified(m));
  }
}

void CopyStep::run(const Team& /*team*/) noexcept {
  const auto each = [&]<class T>(T pattern) {
    T* to = at<T>(0);
    std::fill_n(to, fill_.count, pattern);
    for (std::size_t i = 0; i < movements_.size(); ++i) move<T>(movements_[i], at<T>(static_cast<int>(i) + 1), to);
  };
  switch (element_bytes_) {
    case 1:
      return each(static_cast<std::uint8_t>(fill_.pattern));
    case 2:
      return each(static_cast<std::uint16_t>(fill_.pattern));
    case 4:
      return each(fill_.pattern);
    default:
      return each(static_cast<std::uint64_t>(fill_.pattern));
  }
}

}  // namespace bitfold::engine
