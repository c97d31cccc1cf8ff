#include "ops/window.h"

#include <algorithm>

#include "base/check.h"
#include "ops/infer.h"

namespace bitfold::ops {
namespace {

// Larger than in any real network, and so small that the sums and products below cannot overflow int64.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 31;

void check_window(const Window& w, std::size_t rank) {
  check(w.kernel.size() == rank && w.strides.size() == rank && w.dilations.size() == rank && w.pads.size() == 2 * rank,
        "the window has {} axes (kernel), {} (strides), {} (dilations), {} (pads); the input has {} spatial ones",
        w.kernel.size(), w.strides.size(), w.dilations.size(), w.pads.size(), rank);
  const auto in_range = [](std::int64_t low) { return [low](std::int64_t v) { return v >= low && v < kMaxExtent; }; };
  check(std::all_of(w.kernel.begin(), w.kernel.end(), in_range(1)), "kernel {} must be positive",
        fmt::join(w.kernel, "x"));
  check(std::all_of(w.strides.begin(), w.strides.end(), in_range(1)), "strides {} must be positive",
        fmt::join(w.strides, "x"));
  check(std::all_of(w.dilations.begin(), w.dilations.end(), in_range(1)), "dilations {} must be positive",
        fmt::join(w.dilations, "x"));
  check(std::all_of(w.pads.begin(), w.pads.end(), in_range(0)), "pads {} must not be negative", fmt::join(w.pads, ","));
}

}  // namespace

ResolvedWindow resolve_window(const Window& window, std::span<const std::int64_t> spatial, bool ceil_mode) {
  const std::size_t rank = spatial.size();
  check_window(window, rank);
  ResolvedWindow resolved{.pads = window.pads, .output = {}};
  if (window.auto_pad != AutoPad::none) std::fill(resolved.pads.begin(), resolved.pads.end(), 0);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t input = spatial[i], stride = window.strides[i];
    const std::int64_t extent = window.dilations[i] * (window.kernel[i] - 1) + 1;
    if (input < 0) {
      resolved.output.push_back(kDynamic);
      continue;
    }
    check(input < kMaxExtent, "a spatial size of {} is too large", input);
    std::int64_t& begin = resolved.pads[i];
    std::int64_t& end = resolved.pads[rank + i];
    if (window.auto_pad == AutoPad::same_upper || window.auto_pad == AutoPad::same_lower) {
      const std::int64_t output = (input + stride - 1) / stride;
      const std::int64_t total = std::max<std::int64_t>(0, (output - 1) * stride + extent - input);
      begin = window.auto_pad == AutoPad::same_upper ? total / 2 : total - total / 2;
      end = total - begin;
    }
    const std::int64_t room = input + begin + end - extent;
    // In ceil_mode, the only window may reach beyond the end padding by less than a stride.
    check(room >= 0 || (ceil_mode && room > -stride),
          "a window of {} (dilated) does not fit an input of {} padded by {} and {}", extent, input, begin, end);
    std::int64_t output = room / stride + 1;
    if (ceil_mode && room > 0 && room % stride != 0) {
      ++output;
      if ((output - 1) * stride >= input + begin) --output;
    }
    resolved.output.push_back(output);
  }
  return resolved;
}

ResolvedWindow resolve_transposed_window(const ConvTranspose& op, std::span<const std::int64_t> spatial) {
  const Window& window = op.window;
  const std::size_t rank = spatial.size();
  check_window(window, rank);
  const auto is_optional = [rank](const auto& v) { return v.empty() || v.size() == rank; };
  check(is_optional(op.output_padding) && is_optional(op.output_shape),
        "output_padding has {} entries and output_shape {}; the input has {} spatial axes", op.output_padding.size(),
        op.output_shape.size(), rank);
  const bool is_same = window.auto_pad == AutoPad::same_upper || window.auto_pad == AutoPad::same_lower;
  ResolvedWindow resolved{.pads = window.pads, .output = {}};
  if (window.auto_pad != AutoPad::none) std::fill(resolved.pads.begin(), resolved.pads.end(), 0);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t input = spatial[i], stride = window.strides[i];
    const std::int64_t extra = op.output_padding.empty() ? 0 : op.output_padding[i];
    check(input < kMaxExtent && extra >= 0 && extra < kMaxExtent,
          "spatial size {} and output_padding {} must be below 2^31, and output_padding at least 0", input, extra);
    const bool is_given = !op.output_shape.empty();
    if (is_given)
      check(op.output_shape[i] >= 1 && op.output_shape[i] < kMaxExtent,
            "output_shape has {}; a size must be positive and below 2^31", op.output_shape[i]);
    if (input < 0) {
      resolved.output.push_back(is_given ? op.output_shape[i] : kDynamic);
      continue;
    }
    const std::int64_t extent = window.dilations[i] * (window.kernel[i] - 1) + 1;
    check(extent < kMaxExtent, "a window of {} (dilated) is too large", extent);
    // At most 2^62 + 2^32, so it cannot overflow.
    const std::int64_t full = stride * std::max<std::int64_t>(input - 1, 0) + extra + extent;
    std::int64_t& begin = resolved.pads[i];
    std::int64_t& end = resolved.pads[rank + i];
    if (is_given || is_same) {
      const std::int64_t output = is_given ? op.output_shape[i] : input * stride;
      const std::int64_t total = std::max<std::int64_t>(0, full - output);
      begin = window.auto_pad == AutoPad::same_upper ? total / 2 : total - total / 2;
      end = total - begin;
      resolved.output.push_back(output);
      continue;
    }
    const std::int64_t output = full - begin - end;
    check(output >= 1, "pads of {} and {} leave nothing of {} along spatial axis {}", begin, end, full, i);
    resolved.output.push_back(output);
  }
  return resolved;
}

namespace {

Window3d window_axes(const Window& window, std::span<const std::int64_t> pads, std::span<const std::int64_t> x,
                     std::span<const std::int64_t> y) {
  const std::size_t rank = window.kernel.size();
  Window3d axes{};
  for (std::size_t i = 0; i < rank; ++i)
    axes[3 - rank + i] = {x[i + 2], y[i + 2],      window.kernel[i], window.strides[i], window.dilations[i],
                          pads[i],  pads[i + rank]};
  return axes;
}

void check_spatial_rank(const Window& window, std::span<const std::int64_t> x, std::span<const std::int64_t> y) {
  const std::size_t rank = window.kernel.size();
  check(rank <= 3 && x.size() == rank + 2 && y.size() == rank + 2,
        "a window of {} axes over an input of rank {}: 1, 2 or 3 spatial axes can be run", rank, x.size());
}

}  // namespace

Window3d window_3d(const Window& window, std::span<const std::int64_t> x, std::span<const std::int64_t> y) {
  check_spatial_rank(window, x, y);
  if (window.auto_pad == AutoPad::none) return window_axes(window, window.pads, x, y);
  return window_axes(window, resolve_window(window, x.subspan(2), false).pads, x, y);
}

Window3d transposed_window_3d(const ConvTranspose& op, std::span<const std::int64_t> x,
                              std::span<const std::int64_t> y) {
  check_spatial_rank(op.window, x, y);
  return window_axes(op.window, resolve_transposed_window(op, x.subspan(2)).pads, x, y);
}

std::optional<Convolution> convolution_of(const Op& op, std::span<const std::int64_t> x,
                                          std::span<const std::int64_t> y) {
  if (const auto* conv = std::get_if<Conv>(&op)) return Convolution{window_3d(conv->window, x, y), conv->group, false};
  if (const auto* conv = std::get_if<ConvTranspose>(&op))
    return Convolution{transposed_window_3d(*conv, x, y), conv->group, true};
  return std::nullopt;
}

std::optional<std::string> settle_window(Window& window, const std::optional<Shape>& x) {
  const std::size_t axes = window.kernel.size();
  check(axes > 0 && axes <= 8, "kernel_shape has {} entries, expected 1 to 8", axes);
  const auto fill = [](std::vector<std::int64_t>& list, const char* name, std::size_t count, std::int64_t value) {
    if (list.empty()) list.assign(count, value);
    check(list.size() == count, "attribute '{}' has {} entries, expected {}", name, list.size(), count);
  };
  fill(window.strides, "strides", axes, 1);
  fill(window.dilations, "dilations", axes, 1);
  fill(window.pads, "pads", 2 * axes, 0);
  if (window.auto_pad == AutoPad::none) return std::nullopt;
  std::fill(window.pads.begin(), window.pads.end(), 0);
  if (window.auto_pad == AutoPad::valid) window.auto_pad = AutoPad::none;  // the same as no padding
  const bool is_known =
      x && x->size() == axes + 2 && std::all_of(x->begin() + 2, x->end(), [](auto d) { return d >= 0; });
  if (window.auto_pad == AutoPad::none || !is_known) return std::nullopt;
  window.pads = resolve_window(window, std::span(*x).subspan(2), false).pads;
  window.auto_pad = AutoPad::none;
  return std::nullopt;
}

std::optional<std::string> settle_kernel(Window& window, const std::optional<Shape>& x, const std::optional<Shape>& w) {
  if (window.kernel.empty()) {
    if (!w || w->size() < 3 || !is_static(*w)) return "the shape of its weights is unknown";
    window.kernel.assign(w->begin() + 2, w->end());
  }
  return settle_window(window, x);
}

}  // namespace bitfold::ops
