// Quantization as nodes. The importer turns QuantizeLinear and DequantizeLinear with constant grids into grids of
// values; these rows run what remains, such as computed scales.
//
//   QuantizeLinear         q = clamp(round(x / scale) + zero_point), half to even; reals of 8 and 4 bits instead of q
//   DequantizeLinear       x = (q - zero_point) * scale
//   DynamicQuantizeLinear  the same as QuantizeLinear to uint8, with the grid of [min(x, 0), max(x, 0)]
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "numeric/rounding.h"
#include "ops/code_products.h"
#include "ops/element_access.h"
#include "ops/operands.h"
#include "ops/operator.h"

namespace bitfold::ops {
namespace {

constexpr TypeSet kCode = kPacked | TypeSet{DataType::int8, DataType::uint8, DataType::int16, DataType::uint16} |
                          kReal8 | TypeSet{DataType::float4e2m1};
constexpr TypeSet kDequantized = kCode | TypeSet{DataType::int32};

/// The number of blocks of a row.
std::int64_t blocks_of(std::int64_t size, std::int64_t block) { return (size + block - 1) / block; }

/// The scale (and zero point) of each element: one for all, one for each index along an axis, or one for each block.
class Grids {
 public:
  Grids(std::span<const std::int64_t> x, std::span<const std::int64_t> scale, std::optional<std::int64_t> axis,
        std::int64_t block_size) {
    if (product(scale) == 1 && block_size == 0) {
      inner_ = product(x);
      return;
    }
    const std::size_t at = wrapped_axis(axis.value_or(1), x.size());
    outer_ = product(x.first(at));
    size_ = x[at];
    inner_ = product(x.subspan(at + 1));
    block_ = block_size;
  }

  /// Calls f(first, count, grid, step): elements from `first` on have the grids `grid`, `grid` + step, ....
  template <class F>
  void for_each_row(F f) const {
    if (block_ > 0) return for_each_block(f);
    for (std::int64_t o = 0, first = 0; o < outer_; ++o) {
      if (inner_ == 1) {
        f(first, size_, 0, 1);
        first += size_;
        continue;
      }
      for (std::int64_t i = 0; i < size_; ++i, first += inner_) f(first, inner_, i, 0);
    }
  }

 private:
  template <class F>
  void for_each_block(F f) const {
    const std::int64_t blocks = blocks_of(size_, block_);
    for (std::int64_t o = 0, first = 0; o < outer_; ++o)
      for (std::int64_t b = 0; b < blocks; ++b) {
        const std::int64_t grid = (o * blocks + b) * inner_, count = std::min(block_, size_ - b * block_);
        if (inner_ == 1) {
          f(first, count, grid, 0);
          first += count;
          continue;
        }
        for (std::int64_t i = 0; i < count; ++i, first += inner_) f(first, inner_, grid, 1);
      }
  }

  std::int64_t outer_ = 1, size_ = 1, inner_ = 1, block_ = 0;
};

/// Throws Error unless scale and zero point describe grids for x.
void check_grids(const Inputs& in, std::optional<std::int64_t> axis, std::int64_t block_size) {
  if (in.has(2) && in.shape(1) && in.shape(2) && is_static(*in.shape(1)) && is_static(*in.shape(2)))
    check(element_count(*in.shape(1)) == element_count(*in.shape(2)), "scale has shape {}, but the zero point has {}",
          to_string(*in.shape(1)), to_string(*in.shape(2)));
  if (!in.shape(0) || !in.shape(1) || !is_static(*in.shape(1))) return;
  const Shape &x = *in.shape(0), &scale = *in.shape(1);
  if (block_size == 0 && element_count(scale) == 1) return;
  const auto at = static_cast<std::size_t>(normalize_axis(axis.value_or(1), x.size()));
  if (block_size == 0) {
    check(scale.size() == 1 && (is_unknown(x[at]) || scale[0] == x[at]),
          "scale has shape {}, expected one entry for each of the {} indices along axis {}", to_string(scale), x[at],
          at);
    return;
  }
  check(scale.size() == x.size(), "scale has shape {} and x has {}; with blocks, their ranks must be equal",
        to_string(scale), to_string(x));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::int64_t expected = i == at && !is_unknown(x[i]) ? blocks_of(x[i], block_size) : x[i];
    check(is_unknown(expected) || expected == scale[i],
          "scale has shape {}; blocks of {} along axis {} of shape {} need {} along axis {}", to_string(scale),
          block_size, at, to_string(x), expected, i);
  }
}

struct CodeRange {
  float lowest, highest;
};
CodeRange range_of(DataType codes) {
  const int bits = bit_width(codes);
  const TypeSet is_signed{DataType::int8, DataType::int16, DataType::int4, DataType::int2};
  const auto count = static_cast<float>(1 << bits);
  return is_signed.contains(codes) ? CodeRange{-count / 2, count / 2 - 1} : CodeRange{0, count - 1};
}

/// The code of x / scale; a NaN gets the lowest code, as in ONNX Runtime.
inline std::int32_t code_of(float steps, std::int32_t zero_point, const CodeRange& range) {
  const auto z = static_cast<float>(zero_point);
  const float low = range.lowest - z, high = range.highest - z;
  // Selects values, because std::clamp's references would prevent vectorization.
  const float raised = steps > low ? steps : low;
  return round_half_even(raised < high ? raised : high) + zero_point;
}

/// Calls f with a function of i that returns zero point i, or 0 if there are none.
template <class F>
void with_zero_points(std::span<const TensorView> in, F f) {
  if (!is_given(in, 2)) return f([](std::int64_t) { return std::int32_t{0}; });
  with_elements(in[2], true, RoundMode::up,
                [&](const auto& z) { f([&z](std::int64_t i) { return static_cast<std::int32_t>(z.get(i)); }); });
}

/// Calls f with a value of the C++ type of the codes of 8 and 16 bits that C++ has; returns whether there is one.
template <class F>
bool with_code_type(DataType dtype, F f) {
  const TypeSet types{DataType::int8, DataType::uint8, DataType::int16, DataType::uint16};
  if (!types.contains(dtype)) return false;
  with_integer_type(dtype, f);
  return true;
}

/// Calls f(first, count, scale, zero) with functions of i that return the scale and zero point of element first + i,
/// for runs of at most kRun elements. `zero_points` may be null.
constexpr std::int64_t kRun = 256;
template <class Code, class F>
void for_each_run(const Grids& grids, const float* scales, const Code* zero_points, F f) {
  grids.for_each_row([&](std::int64_t begin, std::int64_t size, std::int64_t grid, std::int64_t step) {
    for (std::int64_t done = 0; done < size; done += kRun) {
      const std::int64_t first = begin + done, count = std::min(kRun, size - done), at = grid + done * step;
      if (step == 0) {
        const auto zero = static_cast<std::int32_t>(zero_points != nullptr ? zero_points[at] : Code{0});
        f(
            first, count, [scale = scales[at]](std::int64_t) { return scale; }, [zero](std::int64_t) { return zero; });
        continue;
      }
      const auto scale = [from = scales + at](std::int64_t i) { return from[i]; };
      if (zero_points == nullptr) {
        f(first, count, scale, [](std::int64_t) { return std::int32_t{0}; });
        continue;
      }
      f(first, count, scale, [from = zero_points + at](std::int64_t i) { return static_cast<std::int32_t>(from[i]); });
    }
  });
}

/// Codes of at most kRun elements, with functions of i that return the scale and zero point of element i.
template <class Code, class X, class Scale, class Zero>
void quantize_run(const X* x, Code* y, std::int64_t count, Scale scale, Zero zero, const CodeRange& range) {
  // Two loops, because compilers make slow code of one that computes in 32 bits and stores fewer.
  std::array<std::int32_t, kRun> wide;
  for (std::int64_t i = 0; i < count; ++i) wide[at(i)] = code_of(static_cast<float>(x[i]) / scale(i), zero(i), range);
  for (std::int64_t i = 0; i < count; ++i) y[i] = static_cast<Code>(wide[at(i)]);
}

template <class Code, class X>
void quantize_plain(const Grids& grids, const X* x, std::span<const TensorView> in, const TensorView& out) {
  const CodeRange range = range_of(out.dtype);
  for_each_run(grids, in[1].as<float>(), is_given(in, 2) ? in[2].as<Code>() : nullptr,
               [&](std::int64_t first, std::int64_t count, auto scale, auto zero) {
                 quantize_run(x + first, out.as<Code>() + first, count, scale, zero, range);
               });
}

template <class Code>
void dequantize_plain(const Grids& grids, std::span<const TensorView> in, float* y) {
  const Code* codes = in[0].as<Code>();
  for_each_run(grids, in[1].as<float>(), is_given(in, 2) ? in[2].as<Code>() : nullptr,
               [&](std::int64_t first, std::int64_t count, auto scale, auto zero) {
                 for (std::int64_t i = 0; i < count; ++i)
                   y[first + i] = static_cast<float>(codes[first + i] - zero(i)) * scale(i);
               });
}

template <class X>
void quantize(const QuantizeLinear& op, const X* x, std::span<const TensorView> in, const TensorView& out) {
  const Grids grids(in[0].shape, in[1].shape, op.axis, op.block_size);
  const auto* scale = in[1].as<float>();
  const auto steps = [&](std::int64_t i, std::int64_t g) { return static_cast<float>(x[i]) / scale[g]; };
  if (is_small_real(out.dtype)) {
    const SmallReals y{out, op.saturate, RoundMode::up};
    return with_zero_points(in, [&](auto zero_point) {
      grids.for_each_row([&](std::int64_t first, std::int64_t count, std::int64_t grid, std::int64_t step) {
        for (std::int64_t i = 0; i < count; ++i)
          y.set(first + i, steps(first + i, grid + i * step) + static_cast<float>(zero_point(grid + i * step)));
      });
    });
  }
  const CodeRange range = range_of(out.dtype);
  if (with_code_type(out.dtype, [&](auto code) { quantize_plain<decltype(code)>(grids, x, in, out); })) return;
  with_zero_points(in, [&](auto zero_point) {
    const PackedIntegers y{out};
    grids.for_each_row([&](std::int64_t first, std::int64_t count, std::int64_t grid, std::int64_t step) {
      for (std::int64_t i = 0; i < count; ++i)
        y.set(first + i, code_of(steps(first + i, grid + i * step), zero_point(grid + i * step), range));
    });
  });
}

void quantize_linear(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<QuantizeLinear>(node.op);
  if (in[0].dtype == DataType::int32) return quantize(op, in[0].as<std::int32_t>(), in, out[0]);
  quantize(op, in[0].as<float>(), in, out[0]);
}

void dequantize_linear(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<DequantizeLinear>(node.op);
  const Grids grids(in[0].shape, in[1].shape, op.axis, op.block_size);
  const auto* scale = in[1].as<float>();
  auto* y = out[0].as<float>();
  if (with_code_type(in[0].dtype, [&](auto code) { dequantize_plain<decltype(code)>(grids, in, y); })) return;
  with_zero_points(in, [&](auto zero_point) {
    with_elements(in[0], true, RoundMode::up, [&](const auto& codes) {
      grids.for_each_row([&](std::int64_t first, std::int64_t count, std::int64_t grid, std::int64_t step) {
        for (std::int64_t i = 0; i < count; ++i) {
          const auto code = codes.get(first + i);
          using Wide = std::conditional_t<std::is_integral_v<decltype(code)>, std::int64_t, float>;
          const auto offset = static_cast<Wide>(code) - static_cast<Wide>(zero_point(grid + i * step));
          y[first + i] = static_cast<float>(offset) * scale[grid + i * step];
        }
      });
    });
  });
}

/// The extremes of x and 0; a NaN does not count.
std::pair<float, float> range_with_zero(const float* x, std::int64_t n) {
  constexpr std::int64_t kLanes = 64;
  std::array<float, kLanes> low{}, high{};
  for (std::int64_t i = 0; i < n; i += kLanes)
    for (std::int64_t k = 0, count = std::min(kLanes, n - i); k < count; ++k) {
      low[at(k)] = x[i + k] < low[at(k)] ? x[i + k] : low[at(k)];
      high[at(k)] = x[i + k] > high[at(k)] ? x[i + k] : high[at(k)];
    }
  return {*std::ranges::min_element(low), *std::ranges::max_element(high)};
}

void dynamic_quantize_linear(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto* x = in[0].as<float>();
  const std::int64_t count = in[0].size();
  const auto [low, high] = range_with_zero(x, count);
  const float scale = low == high ? 1 : (high - low) / 255;
  const auto zero_point = static_cast<std::uint8_t>(code_of(-low / scale, 0, {0, 255}));
  for (std::int64_t i = 0; i < count; i += kRun)
    quantize_run(
        x + i, out[0].as<std::uint8_t>() + i, std::min(kRun, count - i), [scale](std::int64_t) { return scale; },
        [zero_point](std::int64_t) { return std::int32_t{zero_point}; }, {0, 255});
  if (out.size() > 1 && out[1].data != nullptr) *out[1].as<float>() = scale;
  if (out.size() > 2 && out[2].data != nullptr) *out[2].as<std::uint8_t>() = zero_point;
}

Outputs infer_quantize(const Inputs& in) {
  const auto& op = std::get<QuantizeLinear>(in.node.op);
  check_grids(in, op.axis, op.block_size);
  const DataType given = op.output_dtype.value_or(DataType::uint8);
  const DataType type = in.has(2) ? in[2].dtype : given;
  check(!op.output_dtype || type == given || type == DataType::unknown, "output_dtype is {}, but the zero point is {}",
        to_string(given), to_string(type));
  return {{.dtype = type, .shape = in.shape(0)}};
}
Outputs infer_dequantize(const Inputs& in) {
  const auto& op = std::get<DequantizeLinear>(in.node.op);
  check_grids(in, op.axis, op.block_size);
  return {real(in.shape(0))};
}
Outputs infer_dynamic(const Inputs& in) {
  return {
      {.dtype = DataType::uint8, .shape = in.shape(0)}, real(Shape{}), {.dtype = DataType::uint8, .shape = Shape{}}};
}

/// The precision of the division. Bitfold divides in float32, which `precision` may ask for.
Field precision_field() {
  Field made = only<std::int64_t>("precision", 0);
  made.set = [](Op&, const AttributeValue& given) -> std::optional<std::string> {
    const std::int64_t type = detail::as<std::int64_t>("precision", given);
    if (type == 0 || type == 1) return std::nullopt;
    return fmt::format("attribute 'precision' is element type {}, not float32", type);
  };
  return made;
}

}  // namespace

std::vector<OperatorInfo> code_operators() {
  constexpr Interval kBlockSize{0, std::numeric_limits<std::int32_t>::max()};
  std::vector<OperatorInfo> rows{
      {.name = "QuantizeLinear",
       .since = 10,
       .prototype = QuantizeLinear{},
       .inputs = {{"x", kReal | TypeSet{DataType::int32}},
                  {"y_scale", kReal, 0, Presence::required, Use::parameter},
                  {"y_zero_point", kCode, 'C', Presence::optional, Use::parameter}},
       .outputs = {{"y", kCode, 'C'}},
       .fields = {field("axis", &QuantizeLinear::axis), field("block_size", &QuantizeLinear::block_size, kBlockSize),
                  field("output_dtype", &QuantizeLinear::output_dtype), field("saturate", &QuantizeLinear::saturate),
                  precision_field()},
       .infer = infer_quantize,
       .evaluate = quantize_linear},
      {.name = "DequantizeLinear",
       .since = 10,
       .prototype = DequantizeLinear{},
       .inputs = {{"x", kDequantized, 'C'},
                  {"x_scale", kReal, 'S', Presence::required, Use::parameter},
                  {"x_zero_point", kDequantized, 'C', Presence::optional, Use::parameter}},
       .outputs = {{"y", kReal, 'S'}},
       .fields = {field("axis", &DequantizeLinear::axis),
                  field("block_size", &DequantizeLinear::block_size, kBlockSize),
                  field("output_dtype", &DequantizeLinear::output_dtype)},
       .infer = infer_dequantize,
       .evaluate = dequantize_linear},
      {.name = "DynamicQuantizeLinear",
       .since = 11,
       .prototype = DynamicQuantizeLinear{},
       .inputs = {{"x", kReal}},
       .outputs = {{"y", TypeSet{DataType::uint8}}, {"y_scale", kReal}, {"y_zero_point", TypeSet{DataType::uint8}}},
       .infer = infer_dynamic,
       .evaluate = dynamic_quantize_linear},
  };
  for (OperatorInfo& row : code_product_operators()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace bitfold::ops
