#include "engine/steps/convert.h"

#include <algorithm>
#include <cmath>

#include "engine/steps/parallel.h"
#include "numeric/rounding.h"

namespace bitfold::engine {
namespace {

/// Work is counted as bytes moved times 8.
int threads_for(int threads, const Planes& planes) {
  return useful_threads(threads, planes.batch * planes.channels * planes.pixels * 5 * 8);
}

}  // namespace

QuantizeStep::QuantizeStep(const CodeGrid& grid, const Planes& planes, Isa isa, int threads)
    : grid_(byte_grid(grid)), planes_(planes), kernels_(convert_kernels(isa)), threads_(threads_for(threads, planes)) {}

void QuantizeStep::run(const Team& team) noexcept {
  const std::int64_t channels = planes_.channels, pixels = planes_.pixels;
  for_each_run(team, threads_, planes_.batch, pixels, [&](std::int64_t n, std::int64_t first, std::int64_t count) {
    const float* from = at<float>(1) + n * channels * pixels + first;
    std::uint8_t* to = at<std::uint8_t>(0) + (n * pixels + first) * channels;
    if (channels == 1)
      kernels_.quantize_u8(from, to, count, grid_);
    else
      kernels_.quantize_nchw_to_nhwc(from, to, {channels, count, channels, pixels}, grid_);
  });
}

QuantizeLinearStep::QuantizeLinearStep(const ByteGrid& grid, std::int64_t count, Isa isa, int threads)
    : grid_(grid), count_(count), kernels_(convert_kernels(isa)), threads_(threads_for(threads, {1, 1, count})) {}

void QuantizeLinearStep::run(const Team& team) noexcept {
  for_each_part(team, threads_, count_, [&](std::int64_t begin, std::int64_t end) {
    if (grid_.qmin < 0)
      kernels_.quantize_s8(at<float>(1) + begin, at<std::int8_t>(0) + begin, end - begin, grid_);
    else
      kernels_.quantize_u8(at<float>(1) + begin, at<std::uint8_t>(0) + begin, end - begin, grid_);
  });
}

void QuantizeChannelsStep::run(const Team& /*team*/) noexcept {
  if (grids_[0].qmin < 0)
    kernels_.quantize_channels_s8(at<float>(1), at<std::int8_t>(0), layout_, grids_.data());
  else
    kernels_.quantize_channels_u8(at<float>(1), at<std::uint8_t>(0), layout_, grids_.data());
}

DynamicQuantizeStep::DynamicQuantizeStep(const Node& node, const View& x, std::vector<View> outputs, Isa isa)
    : GenericStep(node, ops::info(node.op).evaluate, {x}, outputs),
      count_(element_count(x.shape)),
      kernels_(convert_kernels(isa)) {
  const auto is_used = [&](std::size_t i) { return i < outputs.size() && outputs[i].is_present; };
  x_ = 1;
  if (is_used(1)) scale_ = x_++;
  if (is_used(2)) zero_point_ = x_++;
}

void DynamicQuantizeStep::run(const Team& team) noexcept {
  const float* x = at<float>(x_);
  if (kernels_.find_non_finite(x, count_) != count_) return GenericStep::run(team);
  float low = 0, high = 0;
  kernels_.min_max(x, count_, &low, &high);
  low = std::min(low, 0.0F);
  high = std::max(high, 0.0F);
  const float scale = low == high ? 1 : (high - low) / 255;
  if (!std::isnormal(scale)) return GenericStep::run(team);
  const auto zero_point = static_cast<std::int32_t>(round_half_even(std::clamp(-low / scale, 0.0F, 255.0F)));
  kernels_.quantize_u8(x, at<std::uint8_t>(0), count_, {scale, zero_point, 0, 255});
  if (scale_ >= 0) *at<float>(scale_) = scale;
  if (zero_point_ >= 0) *at<std::uint8_t>(zero_point_) = static_cast<std::uint8_t>(zero_point);
}

HalfStep::HalfStep(bool narrows, std::int64_t count, Isa isa, int threads)
    : narrows_(narrows), count_(count), kernels_(convert_kernels(isa)), threads_(threads_for(threads, {1, 1, count})) {}

void HalfStep::run(const Team& team) noexcept {
  for_each_part(team, threads_, count_, [&](std::int64_t begin, std::int64_t end) {
    if (narrows_)
      kernels_.narrow_half(at<float>(1) + begin, at<std::uint16_t>(0) + begin, end - begin);
    else
      kernels_.widen_half(at<std::uint16_t>(1) + begin, at<float>(0) + begin, end - begin);
  });
}

DequantizeStep::DequantizeStep(const CodeGrid& grid, const Planes& planes, Isa isa)
    : grid_(byte_grid(grid)), planes_(planes), kernels_(convert_kernels(isa)) {}

void DequantizeStep::run(const Team& /*team*/) noexcept {
  const std::int64_t image = planes_.channels * planes_.pixels;
  if (planes_.channels == 1)
    return kernels_.dequantize_u8(at<std::uint8_t>(1), at<float>(0), planes_.batch * image, grid_);
  for (std::int64_t n = 0; n < planes_.batch; ++n)
    kernels_.dequantize_nhwc_to_nchw(at<std::uint8_t>(1) + n * image, at<float>(0) + n * image,
                                     {planes_.channels, planes_.pixels, planes_.channels}, grid_);
}

SnapStep::SnapStep(QuantParams params, std::int64_t count, std::int64_t axis_stride)
    : params_(std::move(params)), count_(count), axis_stride_(axis_stride) {}

void SnapStep::run(const Team& /*team*/) noexcept {
  const float* x = at<float>(1);
  float* y = at<float>(0);
  const auto channels = static_cast<std::int64_t>(params_.scale.size());
  for (std::int64_t i = 0; i < count_; ++i) {
    const auto c = static_cast<std::size_t>(channels > 1 ? i / axis_stride_ % channels : 0);
    const auto zero_point = static_cast<float>(params_.zero_point[c]);
    const float low = static_cast<float>(params_.qmin()) - zero_point,
                high = static_cast<float>(params_.qmax()) - zero_point;
    const float t = x[i] / params_.scale[c];
    y[i] = static_cast<float>(round_half_even(std::isnan(t) ? low : std::clamp(t, low, high))) * params_.scale[c];
  }
}

}  // namespace bitfold::engine
