// Float convolutions and matrix products with oneDNN on dense row-major tensors, the reference's layout.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace bitfold::onednn {

/// One spatial axis. Dilation 1 means adjacent taps.
struct PlainAxis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad_begin = 0, pad_end = 0;
  bool operator==(const PlainAxis&) const = default;
};

/// A convolution: x [batch, in_channels, in...], y [batch, out_channels, out...], weights [out_channels, in_channels /
/// group, kernel...], or, of a transposed one, [in_channels, out_channels / group, kernel...].
struct PlainConvShape {
  std::int64_t batch = 1, in_channels = 1, out_channels = 1, group = 1;
  std::array<PlainAxis, 3> axes;  ///< Depth, height, width; missing ones come first.
  bool is_transposed = false;

  bool operator==(const PlainConvShape&) const = default;
};

/// The shape of a convolution from x to y, each [batch, channels, spatial...]. `Convolution` is ops::Convolution, which
/// this folder does not include.
template <class Convolution>
PlainConvShape plain_conv_shape(const Convolution& convolution, std::span<const std::int64_t> x,
                                std::span<const std::int64_t> y) {
  PlainConvShape shape{.batch = x[0],
                       .in_channels = x[1],
                       .out_channels = y[1],
                       .group = convolution.group,
                       .axes = {},
                       .is_transposed = convolution.is_transposed};
  for (std::size_t i = 0; i < shape.axes.size(); ++i) {
    const auto& a = convolution.axes[i];
    shape.axes[i] = {a.in, a.out, a.kernel, a.stride, a.dilation, a.pad_begin, a.pad_end};
  }
  return shape;
}

/// Packs the weights once; may be run any number of times and by several threads at once.
class PlainConv {
 public:
  /// `bias` may be null. Throws Error if oneDNN has no implementation.
  PlainConv(const PlainConvShape& shape, const float* weights, const float* bias);
  ~PlainConv();
  PlainConv(const PlainConv&) = delete;
  PlainConv& operator=(const PlainConv&) = delete;

  /// Whether y can be produced channels-last, [batch, out..., out_channels], at no extra time.
  bool can_give_channels_last() const;
  /// x and y in the layouts above, or channels-last.
  void run(const float* x, bool x_has_channels_last, float* y, bool y_has_channels_last) const;
  const std::string& implementation() const;  ///< "jit:avx512_core"
  std::size_t packed_bytes() const;           ///< Bytes of the packed weights.

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// [batch, pixels, channels] to [batch, channels, pixels].
void put_channels_first(std::int64_t batch, std::int64_t channels, std::int64_t pixels, const float* from, float* to);

/// y [m, n] = alpha * A' * B' + y. A is stored as [m, k], or as [k, m] if trans_a; B likewise.
struct PlainProduct {
  std::int64_t m = 1, n = 1, k = 1;
  bool trans_a = false, trans_b = false;
};
void multiply_add(const PlainProduct& product, float alpha, const float* a, const float* b, float* y);

/// The same for ops::Product, which this folder does not include.
inline constexpr auto multiply_matrices = [](const auto& p, float alpha, const float* a, const float* b, float* y) {
  multiply_add({p.m, p.n, p.k, p.trans_a, p.trans_b}, alpha, a, b, y);
};

}  // namespace bitfold::onednn
