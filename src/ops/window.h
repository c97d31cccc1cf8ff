// Spatial windows: resolved padding and output sizes of convolutions and pools, as ONNX defines them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/ops.h"

namespace bitfold::ops {

/// A window applied to a known input.
struct ResolvedWindow {
  std::vector<std::int64_t> pads;    ///< Explicit: the begins of each spatial axis, then the ends.
  std::vector<std::int64_t> output;  ///< Size along each spatial axis.
};

/// `spatial` holds the input's spatial sizes (no batch, no channels); an entry may be unknown (negative), whose output
/// is kDynamic (and whose same_* padding is left 0). Convolutions and pools:
///   output = floor((input + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride) + 1
/// with ceil instead of floor in ceil_mode, where a window that would start in the end padding is dropped.
/// Throws Error when the window does not fit the rank, is not positive, or is larger than the padded input.
ResolvedWindow resolve_window(const Window& window, std::span<const std::int64_t> spatial, bool ceil_mode);

/// The same for a transposed convolution:
///   output = stride * (input - 1) + output_padding + dilation * (kernel - 1) + 1 - pad_begin - pad_end
/// where an output_shape, or with same_* padding input * stride, is given instead, the pads follow from it and are at
/// least 0; the odd one is at the end for same_upper and at the begin otherwise.
ResolvedWindow resolve_transposed_window(const ConvTranspose& op, std::span<const std::int64_t> spatial);

/// One spatial axis of a window, padding resolved.
struct WindowAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0;

  /// The index of tap `k` of output `o`; outside [0, in) it is padding.
  std::int64_t tap(std::int64_t o, std::int64_t k) const { return o * stride - pad_begin + k * dilation; }
  std::int64_t extent() const { return (kernel - 1) * dilation + 1; }
};

/// Depth, height, width; axes a tensor lacks are of size 1, in front.
using Window3d = std::array<WindowAxis, 3>;

/// The axes of a convolution or pool from x to y, both [N, C, spatial...]. Throws Error beyond three spatial axes.
Window3d window_3d(const Window& window, std::span<const std::int64_t> x, std::span<const std::int64_t> y);
/// The axes of a transposed convolution from x to y: `in` and `out` are the sizes of x and y.
Window3d transposed_window_3d(const ConvTranspose& op, std::span<const std::int64_t> x,
                              std::span<const std::int64_t> y);

/// Completes a window as read from a file: one entry per spatial axis everywhere, auto_pad of a known input as explicit
/// pads. Throws Error where the numbers of entries differ.
std::optional<std::string> settle_window(Window& window, const std::optional<Shape>& x);

}  // namespace bitfold::ops
