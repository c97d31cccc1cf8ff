// Spatial windows: resolved padding and output sizes of convolutions and pools, as defined by ONNX.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitfold/ops.h"

namespace bitfold::ops {

struct Inputs;

/// A window applied to a known input.
struct ResolvedWindow {
  std::vector<std::int64_t> pads;    ///< Explicit padding: the begins of each spatial axis, then the ends.
  std::vector<std::int64_t> output;  ///< Size along each spatial axis.
};

/// `spatial` contains the input's spatial sizes (without batch and channels). For an unknown (negative) size, the
/// output is kDynamic and same_* padding is left 0. Convolutions and pools:
///   output = floor((input + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride) + 1
/// with ceil instead of floor in ceil_mode, where a window that would start in the end padding is dropped. Throws Error
/// if the window does not fit the rank, is not positive, or is larger than the padded input.
ResolvedWindow resolve_window(const Window& window, std::span<const std::int64_t> spatial, bool ceil_mode);

/// The same for a transposed convolution:
///   output = stride * (input - 1) + output_padding + dilation * (kernel - 1) + 1 - pad_begin - pad_end
/// With output_shape, or with same_* padding (output = input * stride), the pads follow from the output and are at
/// least 0. If their sum is odd, the larger pad is at the end for same_upper and at the beginning otherwise.
ResolvedWindow resolve_transposed_window(const ConvTranspose& op, std::span<const std::int64_t> spatial);

/// One spatial axis of a window with resolved padding.
struct WindowAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0;

  /// The index of tap `k` of output `o`; it is padding outside [0, in).
  std::int64_t tap(std::int64_t o, std::int64_t k) const { return o * stride - pad_begin + k * dilation; }
  std::int64_t extent() const { return (kernel - 1) * dilation + 1; }
  bool contains(std::int64_t i) const { return i >= 0 && i < in; }
};

/// Depth, height, width; missing axes come first and have size 1.
using Window3d = std::array<WindowAxis, 3>;

/// The axes of a convolution or pool from x to y, both [N, C, spatial...]. Throws Error above three spatial axes.
Window3d window_3d(const Window& window, std::span<const std::int64_t> x, std::span<const std::int64_t> y);
/// The axes of a transposed convolution from x to y: `in` and `out` are the sizes of x and y.
Window3d transposed_window_3d(const ConvTranspose& op, std::span<const std::int64_t> x,
                              std::span<const std::int64_t> y);

/// A Conv or a ConvTranspose.
struct Convolution {
  Window3d axes;
  std::int64_t group = 1;
  bool is_transposed = false;
};
/// The convolution from x to y; empty for other operators. Throws Error above three spatial axes.
std::optional<Convolution> convolution_of(const Op& op, std::span<const std::int64_t> x,
                                          std::span<const std::int64_t> y);

/// Completes a window read from a file: one entry per spatial axis everywhere, and auto_pad as explicit pads if the
/// input is known. Throws Error if the numbers of entries differ.
std::optional<std::string> settle_window(Window& window, const std::optional<Shape>& x);
/// The same for a convolution of x with w: the kernel follows from the shape of w if the file does not give it.
std::optional<std::string> settle_kernel(Window& window, const std::optional<Shape>& x, const std::optional<Shape>& w);

/// The shape of the convolution of x with w. Throws Error if the shapes do not fit.
Shape conv_shape(const Window& window, std::int64_t group, const Shape& x, const Shape& w);

}  // namespace bitfold::ops
