#include "ops/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>

#include "ops/operands.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

/// to[i * R + r] = from[r * from_step + i]
template <int R, class T>
void interleave(const T* __restrict from, std::int64_t from_step, T* __restrict to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    for (int r = 0; r < R; ++r) to[i * R + r] = from[r * from_step + i];
}

/// to[r * to_step + i] = from[i * R + r]
template <int R, class T>
void deinterleave(const T* __restrict from, T* __restrict to, std::int64_t to_step, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    for (int r = 0; r < R; ++r) to[r * to_step + i] = from[i * R + r];
}

/// Calls f with the number as a constant if it is 2, 3 or 4. These are the widths of pixels and of small blocks.
template <class F>
bool with_small_constant(std::int64_t n, F f) {
  if (n == 2) return f(std::integral_constant<int, 2>()), true;
  if (n == 3) return f(std::integral_constant<int, 3>()), true;
  if (n == 4) return f(std::integral_constant<int, 4>()), true;
  return false;
}

/// A short run of elements, without the cost of a call.
template <class T>
void copy_short(const T* __restrict from, T* __restrict to, std::int64_t n) {
  if constexpr (std::is_trivially_copyable_v<T>) {
    constexpr std::int64_t kBlock = 16 / sizeof(T);
    for (; n >= kBlock; n -= kBlock, from += kBlock, to += kBlock) std::memcpy(to, from, 16);
  }
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
}

/// `rows` runs of n elements each.
template <class T>
void copy_runs(const T* from, T* to, std::int64_t n, std::int64_t rows, StridedCopy::Steps steps) {
  constexpr std::int64_t kShort = 256 / sizeof(T);
  if (n <= kShort)
    for (std::int64_t r = 0; r < rows; ++r) copy_short(from + r * steps.from, to + r * steps.to, n);
  else
    for (std::int64_t r = 0; r < rows; ++r) std::copy_n(from + r * steps.from, n, to + r * steps.to);
}

/// A row of elements, at distances that are not 1.
template <class T>
void copy_row(const T* from, T* to, std::int64_t n, StridedCopy::Steps steps) {
  if (steps.to == 1 && steps.from == 0) {
    std::fill_n(to, n, *from);
  } else if (steps.to == 1 && steps.from == 2) {
    for (std::int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
  } else {
    for (std::int64_t i = 0; i < n; ++i) to[i * steps.to] = from[i * steps.from];
  }
}

/// to[c * to_step + r] = from[r * from_step + c], in tiles of which both sides stay in the cache.
template <class T>
void transpose(const T* __restrict from, std::int64_t from_step, T* __restrict to, std::int64_t to_step,
               std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kTile = 16;
  for (std::int64_t r = 0; r < rows; r += kTile)
    for (std::int64_t c = 0; c < columns; c += kTile) {
      const T* x = from + r * from_step + c;
      T* y = to + c * to_step + r;
      const std::int64_t height = std::min(kTile, rows - r), width = std::min(kTile, columns - c);
      if (height == kTile) {
        for (std::int64_t j = 0; j < width; ++j)
          for (std::int64_t i = 0; i < kTile; ++i) y[j * to_step + i] = x[i * from_step + j];
      } else {
        for (std::int64_t j = 0; j < width; ++j)
          for (std::int64_t i = 0; i < height; ++i) y[j * to_step + i] = x[i * from_step + j];
      }
    }
}

}  // namespace

void StridedCopy::add(std::int64_t size, Steps steps) {
  if (size == 0) is_empty_ = true;
  if (size <= 1) return;
  check(depth_ < levels_.size(), "a copy needs more than {} levels", levels_.size());
  std::size_t i = depth_++;
  for (; i > 0 && levels_[i - 1].steps.to < steps.to; --i) levels_[i] = levels_[i - 1];
  levels_[i] = {size, steps};
}

template <class T>
void StridedCopy::run(const T* from, T* to) const {
  if (is_empty_) return;
  // Adjacent levels that continue each other in both tensors are one level.
  std::array<Level, kMaxDepth> levels{};
  std::size_t depth = 0;
  for (const Level& level : std::span(levels_).first(depth_)) {
    const Steps whole{level.size * level.steps.to, level.size * level.steps.from};
    Level* outer = depth > 0 ? &levels[depth - 1] : nullptr;
    if (outer != nullptr && outer->steps.to == whole.to && outer->steps.from == whole.from)
      *outer = {outer->size * level.size, level.steps};
    else
      levels[depth++] = level;
  }
  if (depth == 0) {
    *to = *from;
    return;
  }
  const Level inner = levels[--depth];
  const bool is_run = inner.steps.to == 1 && inner.steps.from == 1;
  // The level that reads one element after the other, if it is not the innermost one.
  Level reading;
  constexpr std::int64_t kLongRow = 16;
  if (!is_run && inner.steps.to == 1 && (inner.steps.from != 0 || inner.size < kLongRow))
    for (std::size_t i = depth; i-- > 0 && reading.size == 1;)
      if (levels[i].steps.from == 1) {
        reading = levels[i];
        std::copy(levels.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                  levels.begin() + static_cast<std::ptrdiff_t>(depth), levels.begin() + static_cast<std::ptrdiff_t>(i));
        --depth;
      }
  const Level runs = is_run && depth > 0 ? levels[--depth] : Level{};
  const auto copy_inner = [&](const T* x, T* y) {
    if (is_run) return copy_runs(x, y, inner.size, runs.size, runs.steps);
    if (reading.size == 1) return copy_row(x, y, inner.size, inner.steps);
    const auto interleaves = [&](auto width) { interleave<width>(x, inner.steps.from, y, reading.size); };
    if (reading.steps.to == inner.size && with_small_constant(inner.size, interleaves)) return;
    const auto deinterleaves = [&](auto width) { deinterleave<width>(x, y, reading.steps.to, inner.size); };
    if (inner.steps.from == reading.size && with_small_constant(reading.size, deinterleaves)) return;
    transpose(x, inner.steps.from, y, reading.steps.to, inner.size, reading.size);
  };
  std::array<std::int64_t, kMaxDepth> index{};
  while (true) {
    copy_inner(from, to);
    std::size_t level = depth;
    while (level > 0) {
      --level;
      const auto& [size, steps] = levels[level];
      from += steps.from;
      to += steps.to;
      if (++index[level] < size) break;
      from -= steps.from * size;
      to -= steps.to * size;
      index[level] = 0;
      if (level == 0) return;
    }
    if (depth == 0) return;
  }
}

void StridedCopy::run(DataType dtype, const std::byte* from, std::byte* to) const {
  if (dtype == DataType::string)
    return run(reinterpret_cast<const std::string*>(from), reinterpret_cast<std::string*>(to));
  with_width(dtype, [&](auto zero) {
    using T = decltype(zero);
    run(reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to));
  });
}

void StridedCopy::run(std::size_t element_bytes, const std::byte* from, std::byte* to) const {
  switch (element_bytes) {
    case 1:
      return run(DataType::uint8, from, to);
    case 2:
      return run(DataType::uint16, from, to);
    case 4:
      return run(DataType::uint32, from, to);
    default:
      return run(DataType::uint64, from, to);
  }
}

namespace {

/// Indices first + i / times * step for each i < count: what a StridedCopy can read.
struct EvenIndices {
  std::int64_t first = 0, times = 1, step = 1, count = 0;
  bool is_identity(std::int64_t size) const {
    return first == 0 && count == size && (count == 1 || (times == 1 && step == 1));
  }
};

std::optional<EvenIndices> as_even(const SourceIndices& source, std::int64_t size) {
  if (source.empty()) return EvenIndices{.count = size};
  const auto n = std::ssize(source);
  EvenIndices even{.first = source.front(), .times = n, .step = 0, .count = n};
  const auto other = std::ranges::find_if(source, [&](std::int64_t s) { return s != source.front(); });
  if (other == source.end()) return even;
  even.times = other - source.begin();
  even.step = *other - source.front();
  if (n % even.times != 0) return std::nullopt;
  std::int64_t expected = even.first;
  for (auto s = source.begin(); s != source.end(); s += even.times, expected += even.step)
    if (std::any_of(s, s + even.times, [&](std::int64_t index) { return index != expected; })) return std::nullopt;
  return even;
}

/// Indices that follow each other: [to, to + count) reads [from, from + count).
struct Segment {
  std::int64_t to = 0, from = 0, count = 0;
};

/// The copy along the last axis that is not copied as a whole, of the runs that all later axes form.
template <class T>
struct IndexedRows {
  const SourceIndices& source;
  std::vector<Segment> segments;
  std::int64_t run = 1;

  IndexedRows(const SourceIndices& indices, std::int64_t elements) : source(indices), run(elements) {
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (!segments.empty() && source[i] == segments.back().from + segments.back().count)
        ++segments.back().count;
      else
        segments.push_back({static_cast<std::int64_t>(i), source[i], 1});
    }
  }
  void copy(const T* from, T* to) const {
    if (run == 1 && segments.size() * 4 > source.size()) {
      for (std::int64_t index : source) *to++ = from[index];
      return;
    }
    for (const Segment& s : segments) copy_runs(from + s.from * run, to + s.to * run, s.count * run, 1, {});
  }
};

/// Copies the axes from `axis` on. Equal indices in succession copy what has been written for the first of them.
template <class T>
void copy_blocks(std::span<const SourceIndices> sources, std::span<const std::int64_t> shape,
                 const Strides& from_strides, const Strides& to_strides, const IndexedRows<T>& rows, const T* from,
                 T* to) {
  if (sources.empty()) return rows.copy(from, to);
  const std::size_t axis = shape.size() - sources.size();
  const SourceIndices& source = sources.front();
  const std::int64_t block = to_strides[axis];
  for (std::int64_t i = 0; i < shape[axis]; ++i, to += block) {
    const std::int64_t index = source.empty() ? i : source[static_cast<std::size_t>(i)];
    if (!source.empty() && i > 0 && index == source[static_cast<std::size_t>(i - 1)])
      std::copy_n(to - block, block, to);
    else
      copy_blocks(sources.subspan(1), shape, from_strides, to_strides, rows, from + index * from_strides[axis], to);
  }
}

}  // namespace

void copy_indexed(DataType dtype, std::span<const std::int64_t> from_shape, std::span<const SourceIndices> sources,
                  const std::byte* from, std::byte* to) {
  std::array<std::optional<EvenIndices>, kMaxRank> even{};
  Shape to_shape;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    even.at(i) = as_even(sources[i], from_shape[i]);
    to_shape.push_back(sources[i].empty() ? from_shape[i] : std::ssize(sources[i]));
  }
  if (product(to_shape) == 0) return;
  const Strides from_strides = dense_strides(from_shape), to_strides = dense_strides(to_shape);
  StridedCopy strided;
  std::int64_t first = 0;
  std::size_t changed = 0;  // the axes from it on are copied as a whole
  bool is_even = true;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!even[i] || !even[i]->is_identity(from_shape[i])) changed = i + 1;
    is_even = is_even && even[i];
    if (!even[i]) continue;
    first += even[i]->first * from_strides[i];
    strided.add(even[i]->count / even[i]->times, {even[i]->times * to_strides[i], even[i]->step * from_strides[i]});
    strided.add(even[i]->times, {to_strides[i], 0});
  }
  if (is_even) return strided.run(dtype, from + first * static_cast<std::int64_t>(element_bytes(dtype)), to);
  with_moved_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const IndexedRows<T> rows(sources[changed - 1], to_strides[changed - 1]);
    copy_blocks<T>(sources.first(changed - 1), std::span(to_shape).first(changed - 1), from_strides, to_strides, rows,
                   reinterpret_cast<const T*>(from), reinterpret_cast<T*>(to));
  });
}

}  // namespace bitfold::ops
