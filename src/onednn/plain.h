// Float convolutions and matrix products with oneDNN on dense row-major tensors, the reference's layout.
#pragma once

#include <cstdint>
#include <memory>

namespace bitfold::onednn {

/// A 2-D convolution: x [batch, in_channels, in_h, in_w], weights [out_channels, in_channels / group, kernel_h,
/// kernel_w], y [batch, out_channels, out_h, out_w]. Dilation 1 means adjacent taps.
struct PlainConvShape {
  std::int64_t batch = 1, in_channels = 1, in_h = 1, in_w = 1, out_channels = 1, out_h = 1, out_w = 1, group = 1;
  std::int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;

  auto operator<=>(const PlainConvShape&) const = default;
};

/// Packs the weights once; may be run any number of times and by several threads at once.
class PlainConv {
 public:
  /// `bias` may be null. Throws Error if oneDNN has no implementation.
  PlainConv(const PlainConvShape& shape, const float* weights, const float* bias);
  ~PlainConv();
  PlainConv(const PlainConv&) = delete;
  PlainConv& operator=(const PlainConv&) = delete;

  /// Whether y can be produced channels-last, [batch, out_h, out_w, out_channels], at no extra time.
  bool can_give_channels_last() const;
  /// x and y in the layouts above, or channels-last.
  void run(const float* x, bool x_has_channels_last, float* y, bool y_has_channels_last) const;

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

}  // namespace bitfold::onednn
