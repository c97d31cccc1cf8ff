// Affine grids in plain scalar code. This is the definition with which every kernel is compared.
//
//   real = scale * (q - zero_point)                                docs/internals/arithmetic.md (1)
//   q    = clamp(round_half_even(real / scale) + zero_point)                                    (3)
//
// All arithmetic on elements is float32 and divides by the scale, because multiplying by a reciprocal rounds twice and
// moves ties. Only 32-bit codes (biases) divide in double, whose quotient has enough bits for them.
#include "bitfold/affine.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/check.h"
#include "numeric/rounding.h"

namespace bitfold {
namespace {

constexpr int kBiasBits = 32;

void check_bits(int bits) { check(bits >= 2 && bits <= 16, "a grid has {} bits; it must have 2 to 16", bits); }

// "element 7 (at [1, 3])"
std::string element_name(const Shape& shape, std::int64_t flat) {
  std::vector<std::int64_t> at(shape.size());
  for (std::size_t axis = shape.size(), rest = static_cast<std::size_t>(flat); axis-- > 0;) {
    const auto dim = static_cast<std::size_t>(shape[axis]);
    at[axis] = static_cast<std::int64_t>(rest % dim);
    rest /= dim;
  }
  return fmt::format("element {} (at [{}])", flat, fmt::join(at, ", "));
}

template <class IsAllowed>
void check_elements(const Tensor& x, IsAllowed is_allowed) {
  const auto values = x.data<float>();
  const auto bad = std::find_if_not(values.begin(), values.end(), is_allowed);
  if (bad == values.end()) return;
  fail("{} of {} is {}; quantization needs finite numbers", element_name(x.shape(), bad - values.begin()),
       to_string(x.shape()), *bad);
}
void check_finite(const Tensor& x) {
  check_elements(x, [](float v) { return std::isfinite(v); });
}

// A tensor seen as [outer, channels, inner] around a grid's axis; without an axis there is one channel. With blocks,
// the scales are [outer, blocks, inner].
struct Channels {
  std::int64_t outer = 1, count = 1, inner = 1;
  std::int64_t block_size = 0;  // 0: no blocks

  std::int64_t blocks() const { return count == 0 ? 0 : (count - 1) / block_size + 1; }
  std::int64_t grid_count() const { return block_size > 0 ? outer * blocks() * inner : count; }
};

Channels split_at(const Shape& shape, int axis) {
  Channels split;
  if (axis < 0) {
    split.inner = element_count(shape);
    return split;
  }
  check(static_cast<std::size_t>(axis) < shape.size(), "axis {} does not exist in a tensor of shape {}", axis,
        to_string(shape));
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i < static_cast<std::size_t>(axis))
      split.outer *= shape[i];
    else if (i == static_cast<std::size_t>(axis))
      split.count = shape[i];
    else
      split.inner *= shape[i];
  }
  return split;
}

Channels check_grid(const QuantParams& params, const Shape& shape) {
  Channels split = split_at(shape, params.axis);
  check(params.block_size >= 0 && (params.block_size == 0 || params.axis >= 0),
        "blocks of {} elements along axis {} are not possible", params.block_size, params.axis);
  split.block_size = params.block_size;
  const auto count = static_cast<std::size_t>(split.grid_count());
  check(params.scale.size() == count && params.zero_point.size() == count,
        "there are {} scales and {} zero_points for {} {} (axis {} of shape {})", params.scale.size(),
        params.zero_point.size(), count, params.has_blocks() ? "blocks" : "channels", params.axis, to_string(shape));
  for (float scale : params.scale)
    check(scale > 0 && std::isfinite(scale), "scale {}: must be positive and finite", scale);
  const std::int32_t qmin = params.qmin(), qmax = params.qmax();
  for (std::int32_t zero_point : params.zero_point)
    check(zero_point >= qmin && zero_point <= qmax, "zero_point {}: must be in [{}, {}]", zero_point, qmin, qmax);
  return split;
}

// One channel's grid, with the bounds of (3) applied before rounding. Clamping to integers and rounding commute, and
// the rounded value then fits an int32.
struct ChannelGrid {
  float scale;
  std::int32_t zero_point;
  float low, high;  // qmin - zero_point, qmax - zero_point; exact up to 16 bits
};

ChannelGrid channel_grid(const QuantParams& params, std::int64_t channel) {
  const auto c = static_cast<std::size_t>(channel);
  const std::int32_t zero_point = params.zero_point[c];
  return {params.scale[c], zero_point, static_cast<float>(std::int64_t{params.qmin()} - zero_point),
          static_cast<float>(std::int64_t{params.qmax()} - zero_point)};
}

// q - zero_point as in equation (3), for codes of up to 16 bits.
std::int32_t steps_of(float x, const ChannelGrid& grid) {
  float steps = x / grid.scale;
  // selects values, because std::clamp's references would prevent vectorization
  steps = steps > grid.low ? steps : grid.low;
  steps = steps < grid.high ? steps : grid.high;
  return round_half_even(steps);
}

// Equation (3) for 32-bit codes.
std::int32_t wide_code(float x, const ChannelGrid& grid) {
  const double low = double{std::numeric_limits<std::int32_t>::min()} - grid.zero_point;
  const double high = double{std::numeric_limits<std::int32_t>::max()} - grid.zero_point;
  const double steps = std::clamp(double{x} / double{grid.scale}, low, high);
  return static_cast<std::int32_t>(round_half_even(steps) + grid.zero_point);
}

float real_of(std::int64_t code, const ChannelGrid& grid) {
  return static_cast<float>(code - grid.zero_point) * grid.scale;
}

// Calls visit(index of the block's grid, its first element, its size); its elements are `inner` apart.
template <class Visit>
void for_each_block(const Channels& split, const Visit& visit) {
  const std::int64_t blocks = split.blocks();
  for (std::int64_t o = 0; o < split.outer; ++o)
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t begin = b * split.block_size, size = std::min(split.block_size, split.count - begin);
      for (std::int64_t i = 0; i < split.inner; ++i)
        visit((o * blocks + b) * split.inner + i, (o * split.count + begin) * split.inner + i, size);
    }
}

// to[i] = function(from[i], grid of i's channel or block).
template <class From, class To, class Function>
void map_channels(const From* from, To* to, const QuantParams& params, const Channels& split, Function function) {
  if (split.block_size > 0) {
    for_each_block(split, [&](std::int64_t block, std::int64_t first, std::int64_t size) {
      const ChannelGrid grid = channel_grid(params, block);
      for (std::int64_t k = 0, i = first; k < size; ++k, i += split.inner) to[i] = function(from[i], grid);
    });
    return;
  }
  for (std::int64_t o = 0; o < split.outer; ++o)
    for (std::int64_t c = 0; c < split.count; ++c) {
      const ChannelGrid grid = channel_grid(params, c);
      const std::int64_t start = (o * split.count + c) * split.inner;
      for (std::int64_t i = start; i < start + split.inner; ++i) to[i] = function(from[i], grid);
    }
}

template <class Code>
void quantize_to(const Tensor& x, Tensor& codes, const QuantParams& params, const Channels& split) {
  const float* from = x.data<float>().data();
  Code* to = codes.mutable_data<Code>().data();
  if (params.bits == kBiasBits)
    map_channels(from, to, params, split,
                 [](float v, const ChannelGrid& g) { return static_cast<Code>(wide_code(v, g)); });
  else
    map_channels(from, to, params, split,
                 [](float v, const ChannelGrid& g) { return static_cast<Code>(steps_of(v, g) + g.zero_point); });
}

template <class Code>
void dequantize_from(const Tensor& codes, Tensor& x, const QuantParams& params, const Channels& split) {
  map_channels(codes.data<Code>().data(), x.mutable_data<float>().data(), params, split,
               [](Code q, const ChannelGrid& g) { return real_of(q, g); });
}

// Calls function.operator()<Code>() with the C++ type of a grid's codes.
template <class Function>
void with_code_type(DataType storage, Function function) {
  switch (storage) {
    case DataType::int8:
      return function.template operator()<std::int8_t>();
    case DataType::uint8:
      return function.template operator()<std::uint8_t>();
    case DataType::int16:
      return function.template operator()<std::int16_t>();
    case DataType::uint16:
      return function.template operator()<std::uint16_t>();
    default:
      return function.template operator()<std::int32_t>();
  }
}

// Appends the scale and zero_point of one channel, equations (5) to (8). The other fields of `params` are set.
void append_channel(QuantParams& params, double min, double max, Scheme scheme) {
  min = std::min(min, 0.0);
  max = std::max(max, 0.0);
  const std::int32_t qmin = params.qmin(), qmax = params.qmax();
  const bool symmetric = scheme == Scheme::symmetric;
  const std::int32_t middle = params.is_signed ? 0 : std::int32_t{1} << (params.bits - 1);
  double scale = symmetric ? std::max(-min, max) / (qmax - middle) : (max - min) / (qmax - qmin);
  if (min == 0 && max == 0) scale = 1;
  // Below the smallest normal float, x / scale loses bits, or divides by zero on CPUs that flush subnormals. The grid
  // is then coarser than the range requires and still covers it.
  const float stored = std::max(static_cast<float>(scale), std::numeric_limits<float>::min());
  params.scale.push_back(stored);
  if (symmetric) {
    params.zero_point.push_back(middle);
  } else {
    const std::int64_t code = round_half_even(qmin - min / double{stored});
    params.zero_point.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(code, qmin, qmax)));
  }
}

QuantParams empty_params(const GridSpec& spec) {
  check_bits(spec.bits);
  QuantParams params;
  params.bits = spec.bits;
  params.is_signed = spec.is_signed;
  params.narrow = spec.is_signed && spec.scheme == Scheme::symmetric;
  return params;
}

}  // namespace

std::string_view to_string(Scheme scheme) { return scheme == Scheme::symmetric ? "symmetric" : "asymmetric"; }

std::string_view to_string(Granularity granularity) {
  return granularity == Granularity::per_tensor ? "per_tensor" : "per_channel";
}

Scheme parse_scheme(std::string_view word) {
  for (Scheme scheme : {Scheme::symmetric, Scheme::asymmetric})
    if (word == to_string(scheme)) return scheme;
  fail("scheme '{}': expected symmetric or asymmetric", word);
}

Granularity parse_granularity(std::string_view word) {
  for (Granularity granularity : {Granularity::per_tensor, Granularity::per_channel})
    if (word == to_string(granularity)) return granularity;
  fail("granularity '{}': expected per_tensor or per_channel", word);
}

std::int32_t QuantParams::qmin() const {
  if (bits == kBiasBits) return std::numeric_limits<std::int32_t>::min() + (narrow ? 1 : 0);
  check_bits(bits);
  return is_signed ? -(std::int32_t{1} << (bits - 1)) + (narrow ? 1 : 0) : 0;
}

std::int32_t QuantParams::qmax() const {
  if (bits == kBiasBits) return std::numeric_limits<std::int32_t>::max();
  check_bits(bits);
  return (std::int32_t{1} << (is_signed ? bits - 1 : bits)) - 1;
}

DataType QuantParams::storage() const {
  if (bits == kBiasBits) return DataType::int32;
  check_bits(bits);
  if (bits <= 8) return is_signed ? DataType::int8 : DataType::uint8;
  return is_signed ? DataType::int16 : DataType::uint16;
}

Shape QuantParams::grid_shape(const Shape& x) const {
  if (axis < 0) return {};
  check(static_cast<std::size_t>(axis) < x.size(), "axis {} does not exist in a tensor of shape {}", axis,
        to_string(x));
  if (!has_blocks()) return {x[static_cast<std::size_t>(axis)]};
  Shape shape = x;
  std::int64_t& blocks = shape[static_cast<std::size_t>(axis)];
  if (blocks > 0) blocks = (blocks - 1) / block_size + 1;
  return shape;
}

QuantParams choose_params(float min, float max, const GridSpec& spec) {
  check(std::isfinite(min) && std::isfinite(max), "range [{}, {}]: both bounds must be finite", min, max);
  check(min <= max, "range [{}, {}]: the minimum is above the maximum", min, max);
  QuantParams params = empty_params(spec);
  append_channel(params, min, max, spec.scheme);
  return params;
}

QuantParams choose_params_per_channel(const Tensor& x, int axis, const GridSpec& spec) {
  QuantParams params = empty_params(spec);
  check(axis >= 0 && axis < x.rank(), "axis {} does not exist in a tensor of shape {}", axis, to_string(x.shape()));
  check_finite(x);
  params.axis = axis;
  const Channels split = split_at(x.shape(), axis);
  const auto values = x.data<float>();
  for (std::int64_t c = 0; c < split.count; ++c) {
    float min = 0, max = 0;  // the range includes 0, as in equation (5)
    for (std::int64_t o = 0; o < split.outer; ++o) {
      const auto slice = values.subspan(static_cast<std::size_t>((o * split.count + c) * split.inner),
                                        static_cast<std::size_t>(split.inner));
      for (float v : slice) {
        min = std::min(min, v);
        max = std::max(max, v);
      }
    }
    append_channel(params, min, max, spec.scheme);
  }
  return params;
}

QuantParams choose_params_per_block(const Tensor& x, int axis, std::int64_t block_size, const GridSpec& spec) {
  QuantParams params = empty_params(spec);
  check(axis >= 0 && axis < x.rank(), "axis {} does not exist in a tensor of shape {}", axis, to_string(x.shape()));
  check(block_size >= 1, "blocks have {} elements; at least 1 is needed", block_size);
  check_finite(x);
  params.axis = axis;
  params.block_size = block_size;
  Channels split = split_at(x.shape(), axis);
  split.block_size = block_size;
  const auto values = x.data<float>();
  for_each_block(split, [&](std::int64_t, std::int64_t first, std::int64_t size) {
    float min = 0, max = 0;  // the range includes 0, as in equation (5)
    for (std::int64_t k = 0; k < size; ++k) {
      const float v = values[static_cast<std::size_t>(first + k * split.inner)];
      min = std::min(min, v);
      max = std::max(max, v);
    }
    append_channel(params, min, max, spec.scheme);
  });
  return params;
}

Tensor quantize(const Tensor& x, const QuantParams& params) {
  const Channels split = check_grid(params, x.shape());
  check_finite(x);
  Tensor codes(params.storage(), x.shape());
  with_code_type(params.storage(), [&]<class Code>() { quantize_to<Code>(x, codes, params, split); });
  return codes;
}

Tensor dequantize(const Tensor& codes, const QuantParams& params) {
  const Channels split = check_grid(params, codes.shape());
  check(can_hold_codes(codes.dtype(), params), "codes have type {}, but the grid needs {}", to_string(codes.dtype()),
        to_string(params.storage()));
  const Tensor wide = unpacked(codes);
  Tensor x(DataType::float32, codes.shape());
  with_code_type(params.storage(), [&]<class Code>() { dequantize_from<Code>(wide, x, params, split); });
  return x;
}

// Infinities saturate, as in the engine and in ONNX's QuantizeLinear: a network may divide by 0 for some input.
Tensor snap(const Tensor& x, const QuantParams& params) {
  if (params.bits == kBiasBits) return dequantize(quantize(x, params), params);
  const Channels split = check_grid(params, x.shape());
  check_elements(x, [](float v) { return !std::isnan(v); });
  Tensor snapped(DataType::float32, x.shape());
  map_channels(x.data<float>().data(), snapped.mutable_data<float>().data(), params, split,
               [](float v, const ChannelGrid& g) { return static_cast<float>(steps_of(v, g)) * g.scale; });
  return snapped;
}

// Equation (16).
std::int32_t requantize(std::int32_t accumulator, float multiplier, std::int32_t zero_point, std::int32_t qmin,
                        std::int32_t qmax) {
  const auto low = static_cast<float>(std::int64_t{qmin} - zero_point);
  const auto high = static_cast<float>(std::int64_t{qmax} - zero_point);
  const float steps = std::clamp(static_cast<float>(accumulator) * multiplier, low, high);
  return static_cast<std::int32_t>(round_half_even(double{steps}) + zero_point);
}

}  // namespace bitfold
