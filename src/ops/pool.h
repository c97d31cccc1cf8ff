// The windows of pools over one, two or three spatial axes.
#pragma once

#include <algorithm>

#include "bitfold/node.h"
#include "ops/infer.h"
#include "ops/window.h"

namespace bitfold::ops {

/// The output's shape; none if the input's is unknown.
std::optional<Shape> pooled_shape(const Inputs& in, const Window& window, bool ceil_mode);

/// The taps [begin, end) of output `o` inside the input, and the number of taps inside the padded input.
struct Taps {
  std::int64_t begin = 0, end = 0, padded_count = 0;
};
inline Taps taps(const WindowAxis& a, std::int64_t o) {
  const std::int64_t first = a.tap(o, 0);
  const auto below = [&](std::int64_t limit) {
    if (limit <= first) return std::int64_t{0};
    return std::min(a.kernel, (limit - first + a.dilation - 1) / a.dilation);
  };
  return {below(0), below(a.in), below(a.in + a.pad_end)};
}

/// The outputs [begin, end) whose tap `k` is inside the input; an empty range begins at 0.
struct OutputRange {
  std::int64_t begin = 0, end = 0;
};
inline OutputRange outputs_of_tap(const WindowAxis& a, std::int64_t k) {
  const auto below = [&](std::int64_t limit) {  // the number of outputs whose tap is below `limit`
    const std::int64_t distance = limit - a.tap(0, k);
    return distance <= 0 ? 0 : std::min(a.out, (distance + a.stride - 1) / a.stride);
  };
  const std::int64_t begin = below(0), end = below(a.in);
  return begin < end ? OutputRange{begin, end} : OutputRange{};
}

/// Calls row(plane number, z taps, y taps, first) for every row of outputs in order. `first` is the index of the start
/// of the input's row of taps (0, 0) in the plane; it may be outside.
template <class F>
void for_each_row(const Window3d& a, std::int64_t planes, F row) {
  for (std::int64_t p = 0; p < planes; ++p)
    for (std::int64_t oz = 0; oz < a[0].out; ++oz)
      for (std::int64_t oy = 0; oy < a[1].out; ++oy)
        row(p, taps(a[0], oz), taps(a[1], oy), (a[0].tap(oz, 0) * a[1].in + a[1].tap(oy, 0)) * a[2].in);
}

struct PoolCell {
  Taps z, y, x;
  std::int64_t first = 0;  ///< Index of tap (0, 0, 0) in the plane; may be outside.
};

/// Calls cell(plane number, cell) for every output in order.
template <class F>
void for_each_cell(const Window3d& a, std::int64_t planes, F f) {
  for_each_row(a, planes, [&](std::int64_t p, const Taps& z, const Taps& y, std::int64_t row) {
    for (std::int64_t ox = 0; ox < a[2].out; ++ox) f(p, PoolCell{z, y, taps(a[2], ox), row + a[2].tap(ox, 0)});
  });
}

/// MaxPool over at most two spatial axes, for runs that keep images channels-last: shapes are [N, C, H, W], and the
/// order in memory is [N, H, W, C].
void max_pool_channels_last(const Node& node, const TensorView& in, const TensorView& out);

}  // namespace bitfold::ops
