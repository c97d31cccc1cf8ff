// Products of 8-bit codes. Sums are exact integers:
//
//   ConvInteger, MatMulInteger   y = sum of (a - zero_point of a) (b - zero_point of b), modulo 2^32
//   QLinearConv, QLinearMatMul   the sum (plus the bias) times scale of a * scale of b / scale of y, rounded to a code
//                                of y by docs/internals/arithmetic.md (16)
#include "ops/code_products.h"

#include <algorithm>

#include "bitfold/affine.h"
#include "ops/operands.h"
#include "ops/products.h"
#include "ops/window.h"

namespace bitfold::ops {
namespace {

constexpr TypeSet kByte{DataType::int8, DataType::uint8};

template <class F>
void with_byte_type(DataType dtype, F f) {
  if (dtype == DataType::int8) return f(std::int8_t{});
  f(std::uint8_t{});
}
std::int32_t byte_at(const TensorView& view, std::int64_t i) {
  return view.dtype == DataType::int8 ? view.as<std::int8_t>()[i] : view.as<std::uint8_t>()[i];
}

/// A sum on the accumulators' grid becomes a code of y.
class Requantizer {
 public:
  explicit Requantizer(const TensorView& y, std::int32_t zero_point)
      : y_(y), zero_point_(zero_point), qmin_(y.dtype == DataType::int8 ? -128 : 0), qmax_(qmin_ + 255) {}
  void set(std::int64_t i, std::int64_t sum, float multiplier) const {
    const std::int32_t code = requantize(static_cast<std::int32_t>(sum), multiplier, zero_point_, qmin_, qmax_);
    y_.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(code);
  }

 private:
  const TensorView& y_;
  std::int32_t zero_point_, qmin_, qmax_;
};

// Convolutions --------------------------------------------------------------------------------------------------------

struct ConvOperands {
  const TensorView &x, &w, *x_zero, *w_zero;
  const Window& window;
  std::int64_t group;
};

/// Calls f(index of y, output channel, sum) for every output element.
template <class X, class W, class F>
void convolve(const ConvOperands& t, std::span<const std::int64_t> y, F f) {
  const auto [az, ay, ax] = window_3d(t.window, t.x.shape, y);
  const std::int64_t in_channels = t.x.shape[1], out_channels = y[1];
  const std::int64_t in_per_group = in_channels / t.group, out_per_group = out_channels / t.group;
  const std::int64_t plane = az.in * ay.in * ax.in, taps = az.kernel * ay.kernel * ax.kernel;
  const std::int64_t xz = t.x_zero != nullptr ? byte_at(*t.x_zero, 0) : 0;
  std::int64_t index = 0;
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t m = 0; m < out_channels; ++m) {
      const std::int64_t wz = t.w_zero == nullptr ? 0 : byte_at(*t.w_zero, t.w_zero->size() == 1 ? 0 : m);
      const X* x = t.x.as<X>() + (n * in_channels + m / out_per_group * in_per_group) * plane;
      const W* w = t.w.as<W>() + m * in_per_group * taps;
      for (std::int64_t oz = 0; oz < az.out; ++oz)
        for (std::int64_t oy = 0; oy < ay.out; ++oy)
          for (std::int64_t ox = 0; ox < ax.out; ++ox) {
            std::int64_t sum = 0;
            for (std::int64_t c = 0; c < in_per_group; ++c)
              for (std::int64_t kz = 0; kz < az.kernel; ++kz)
                for (std::int64_t ky = 0; ky < ay.kernel; ++ky) {
                  const std::int64_t iz = az.tap(oz, kz), iy = ay.tap(oy, ky);
                  if (!az.contains(iz) || !ay.contains(iy)) continue;
                  const X* row = x + c * plane + (iz * ay.in + iy) * ax.in;
                  const W* weights = w + c * taps + (kz * ay.kernel + ky) * ax.kernel;
                  for (std::int64_t kx = 0; kx < ax.kernel; ++kx) {
                    const std::int64_t ix = ax.tap(ox, kx);
                    if (ax.contains(ix)) sum += (row[ix] - xz) * (weights[kx] - wz);
                  }
                }
            f(index++, m, sum);
          }
    }
}

template <class F>
void convolve(const ConvOperands& t, std::span<const std::int64_t> y, F f) {
  with_byte_type(t.x.dtype, [&](auto x) {
    with_byte_type(t.w.dtype, [&](auto w) { convolve<decltype(x), decltype(w)>(t, y, f); });
  });
}

const TensorView* optional(std::span<const TensorView> in, std::size_t slot) {
  return is_given(in, slot) ? &in[slot] : nullptr;
}

void conv_integer(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<ConvInteger>(node.op);
  auto* y = out[0].as<std::int32_t>();
  convolve({in[0], in[1], optional(in, 2), optional(in, 3), op.window, op.group}, out[0].shape,
           [&](std::int64_t i, std::int64_t, std::int64_t sum) { y[i] = static_cast<std::int32_t>(sum); });
}

void qlinear_conv(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<QLinearConv>(node.op);
  const float x_scale = *in[1].as<float>(), y_scale = *in[6].as<float>();
  const Requantizer y(out[0], byte_at(in[7], 0));
  const auto* bias = is_given(in, 8) ? in[8].as<std::int32_t>() : nullptr;
  convolve({in[0], in[3], &in[2], &in[5], op.window, op.group}, out[0].shape,
           [&](std::int64_t i, std::int64_t m, std::int64_t sum) {
             const float w_scale = in[4].as<float>()[in[4].size() == 1 ? 0 : m];
             y.set(i, sum + (bias != nullptr ? bias[m] : 0), x_scale * w_scale / y_scale);
           });
}

// Matrix products -----------------------------------------------------------------------------------------------------

/// A scale or zero point: one for the whole factor, one for each row (of a) or column (of b), or one for each row or
/// column of each matrix.
struct PerLine {
  const TensorView* view = nullptr;
  bool is_column = false;

  std::int64_t line_step() const {
    if (view == nullptr || view->size() == 1) return 0;
    const auto shape = view->shape;
    return shape.size() < 2 || shape[shape.size() - (is_column ? 1 : 2)] > 1 ? 1 : 0;
  }
  std::vector<std::int64_t> batch_shape() const {
    if (view == nullptr || view->shape.size() < 3) return {};
    return {view->shape.begin(), view->shape.end() - 2};
  }
  std::int64_t lines() const {
    return line_step() == 0 ? 1 : view->shape[view->shape.size() < 2 ? 0 : view->shape.size() - (is_column ? 1 : 2)];
  }
};

struct MatrixOperands {
  const TensorView &a, &b;
  PerLine a_zero, b_zero, a_scale, b_scale;
};

std::vector<std::int64_t> batch_of(std::span<const std::int64_t> shape) {
  return shape.size() < 3 ? std::vector<std::int64_t>{} : std::vector(shape.begin(), shape.end() - 2);
}

/// sums[j] += factor * row[j]
void add_multiple(std::int16_t factor, const std::int16_t* row, std::vector<std::uint32_t>& sums) {
  std::uint32_t* to = sums.data();
  for (std::size_t j = 0, n = sums.size(); j < n; ++j)
    to[j] += static_cast<std::uint32_t>(std::int32_t{factor} * std::int32_t{row[j]});
}

/// Calls f(index of y, sum, index of a's scale, index of b's scale) for every output element.
template <class A, class B, class F>
void multiply_codes(const MatrixOperands& t, const TensorView& out, F f) {
  const auto a_shape = t.a.shape, b_shape = t.b.shape;
  const std::int64_t m = a_shape.size() > 1 ? a_shape[a_shape.size() - 2] : 1, k = a_shape.back();
  const std::int64_t n = b_shape.size() > 1 ? b_shape.back() : 1;
  const std::vector<std::int64_t> a_batch = batch_of(a_shape), b_batch = batch_of(b_shape);
  const Shape batch = broadcast(Shape(a_batch.begin(), a_batch.end()), Shape(b_batch.begin(), b_batch.end()));
  const Strides sa = broadcast_strides(a_batch, batch), sb = broadcast_strides(b_batch, batch),
                sy = dense_strides(batch);
  const PerLine* parameters[] = {&t.a_zero, &t.b_zero, &t.a_scale, &t.b_scale};
  std::array<Strides, 4> sp;
  for (std::size_t p = 0; p < 4; ++p) sp[p] = broadcast_strides(parameters[p]->batch_shape(), batch);
  Loops<7> loops;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Loops<7>::Steps steps{sy[i] * m * n, sa[i] * m * k, sb[i] * k * n};
    for (std::size_t p = 0; p < 4; ++p) steps[p + 3] = sp[p][i] * parameters[p]->lines();
    loops.add(batch[i], steps);
  }
  const std::int64_t az = t.a_zero.line_step(), bz = t.b_zero.line_step(), as = t.a_scale.line_step(),
                     bs = t.b_scale.line_step();
  if (out.size() == 0) return;
  const auto zero_at = [](const PerLine& zero, std::int64_t i) {
    return zero.view == nullptr ? 0 : byte_at(*zero.view, i);
  };
  // Differences of codes fit int16, whose products the compiler multiplies several at a time. Sums wrap.
  std::vector<std::int16_t> differences(static_cast<std::size_t>(k * n));
  std::vector<std::int32_t> zeros(static_cast<std::size_t>(n));
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(n));
  loops.for_each_row([&](const auto& offsets, std::int64_t count, const auto& steps) {
    for (std::int64_t q = 0; q < count; ++q) {
      const auto at = [&](std::size_t p) { return offsets[p] + q * steps[p]; };
      const A* a = t.a.as<A>() + at(1);
      const B* b = t.b.as<B>() + at(2);
      for (std::int64_t j = 0; j < n; ++j) zeros[static_cast<std::size_t>(j)] = zero_at(t.b_zero, at(4) + j * bz);
      for (std::int64_t l = 0; l < k; ++l)
        for (std::size_t j = 0; j < zeros.size(); ++j) {
          const std::size_t i = static_cast<std::size_t>(l) * zeros.size() + j;
          differences[i] = static_cast<std::int16_t>(b[i] - zeros[j]);
        }
      for (std::int64_t i = 0; i < m; ++i) {
        const std::int32_t zero = zero_at(t.a_zero, at(3) + i * az);
        std::fill(sums.begin(), sums.end(), 0U);
        for (std::int64_t l = 0; l < k; ++l)
          add_multiple(static_cast<std::int16_t>(a[i * k + l] - zero), differences.data() + l * n, sums);
        for (std::int64_t j = 0; j < n; ++j)
          f(at(0) + i * n + j, static_cast<std::int32_t>(sums[static_cast<std::size_t>(j)]), at(5) + i * as,
            at(6) + j * bs);
      }
    }
  });
}

template <class F>
void multiply_codes(const MatrixOperands& t, const TensorView& out, F f) {
  with_byte_type(t.a.dtype, [&](auto a) {
    with_byte_type(t.b.dtype, [&](auto b) { multiply_codes<decltype(a), decltype(b)>(t, out, f); });
  });
}

void matmul_integer(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  auto* y = out[0].as<std::int32_t>();
  multiply_codes(
      {in[0], in[1], {optional(in, 2), false}, {optional(in, 3), true}, {}, {}}, out[0],
      [&](std::int64_t i, std::int64_t sum, std::int64_t, std::int64_t) { y[i] = static_cast<std::int32_t>(sum); });
}

void qlinear_matmul(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const Requantizer y(out[0], byte_at(in[7], 0));
  const float y_scale = *in[6].as<float>();
  multiply_codes({in[0], in[3], {&in[2], false}, {&in[5], true}, {&in[1], false}, {&in[4], true}}, out[0],
                 [&](std::int64_t i, std::int64_t sum, std::int64_t a, std::int64_t b) {
                   y.set(i, sum, in[1].as<float>()[a] * in[4].as<float>()[b] / y_scale);
                 });
}

// Shape rules ---------------------------------------------------------------------------------------------------------

void check_one(const Inputs& in, std::size_t slot) {
  if (!in.has(slot) || !in.shape(slot) || !is_static(*in.shape(slot))) return;
  check(element_count(*in.shape(slot)) == 1, "input {} has shape {}, expected one element", slot,
        to_string(*in.shape(slot)));
}
void check_one_or_each(const Inputs& in, std::size_t slot, std::int64_t channels) {
  if (!in.has(slot) || !in.shape(slot) || !is_static(*in.shape(slot))) return;
  const Shape& shape = *in.shape(slot);
  check(element_count(shape) == 1 || is_unknown(channels) || (shape.size() == 1 && shape[0] == channels),
        "input {} has shape {}, expected one element or {}", slot, to_string(shape), channels);
}
/// `lines`: the rows of a or the columns of b. Batch axes must broadcast to those of the product.
void check_lines(const Inputs& in, std::size_t slot, const Shape& factor, bool is_column) {
  if (!in.has(slot) || !in.shape(slot) || !is_static(*in.shape(slot)) || !is_static(factor)) return;
  const Shape& shape = *in.shape(slot);
  if (element_count(shape) == 1) return;
  const std::int64_t lines = factor.size() < 2 ? 1 : factor[factor.size() - (is_column ? 1 : 2)];
  bool fits = shape.size() == 1 && shape[0] == lines;
  if (shape.size() >= 2 && shape.size() == factor.size()) {
    Shape expected = factor;
    expected[expected.size() - (is_column ? 2 : 1)] = 1;
    fits = shape == expected;
  }
  check(fits, "input {} has shape {}, which is neither one element nor one for each {} of {}", slot, to_string(shape),
        is_column ? "column" : "row", to_string(factor));
}

Outputs infer_conv_integer(const Inputs& in) {
  const auto& op = std::get<ConvInteger>(in.node.op);
  check_one(in, 2);
  ValueInfo y{.dtype = DataType::int32};
  if (in.shape(0) && in.shape(1)) y.shape = conv_shape(op.window, op.group, *in.shape(0), *in.shape(1));
  if (y.shape) check_one_or_each(in, 3, (*y.shape)[1]);
  return {y};
}
Outputs infer_qlinear_conv(const Inputs& in) {
  const auto& op = std::get<QLinearConv>(in.node.op);
  for (const std::size_t slot : {1U, 2U, 6U, 7U}) check_one(in, slot);
  ValueInfo y{.dtype = in[7].dtype};
  if (in.shape(0) && in.shape(3)) y.shape = conv_shape(op.window, op.group, *in.shape(0), *in.shape(3));
  if (!y.shape) return {y};
  const std::int64_t channels = (*y.shape)[1];
  for (const std::size_t slot : {4U, 5U}) check_one_or_each(in, slot, channels);
  if (in.has(8) && in.shape(8))
    check(in.shape(8)->size() == 1 &&
              (is_unknown((*in.shape(8))[0]) || is_unknown(channels) || (*in.shape(8))[0] == channels),
          "bias has shape {}, expected {}", to_string(*in.shape(8)), channels);
  return {y};
}
Outputs infer_matmul_integer(const Inputs& in) {
  ValueInfo y{.dtype = DataType::int32};
  if (!in.shape(0) || !in.shape(1)) return {y};
  y.shape = matmul_shape(*in.shape(0), *in.shape(1));
  check_lines(in, 2, *in.shape(0), false);
  check_lines(in, 3, *in.shape(1), true);
  return {y};
}
Outputs infer_qlinear_matmul(const Inputs& in) {
  ValueInfo y{.dtype = in[7].dtype};
  for (const std::size_t slot : {6U, 7U}) check_one(in, slot);
  if (!in.shape(0) || !in.shape(3)) return {y};
  y.shape = matmul_shape(*in.shape(0), *in.shape(3));
  for (const std::size_t slot : {1U, 2U}) check_lines(in, slot, *in.shape(0), false);
  for (const std::size_t slot : {4U, 5U}) check_lines(in, slot, *in.shape(3), true);
  return {y};
}

std::optional<std::string> settle_conv_integer(Op& op, const Inputs& in) {
  return settle_kernel(std::get<ConvInteger>(op).window, in.shape(0), in.shape(1));
}
std::optional<std::string> settle_qlinear_conv(Op& op, const Inputs& in) {
  return settle_kernel(std::get<QLinearConv>(op).window, in.shape(0), in.has(3) ? in.shape(3) : std::nullopt);
}

std::int64_t conv_macs(const Shape& w, const Shape& y) { return product(y) * product(std::span(w).subspan(1)); }

}  // namespace

std::vector<OperatorInfo> code_product_operators() {
  constexpr TypeSet kInt32{DataType::int32};
  const auto parameter = [](std::string_view name, TypeSet types, char group = 0,
                            Presence presence = Presence::required) {
    return Slot{name, types, group, presence, Use::parameter};
  };
  const auto optional = Presence::optional;
  return {
      {.name = "ConvInteger",
       .since = 10,
       .prototype = ConvInteger{},
       .inputs = {{"x", kByte, 'X'},
                  {"w", kByte, 'W'},
                  parameter("x_zero_point", kByte, 'X', optional),
                  parameter("w_zero_point", kByte, 'W', optional)},
       .outputs = {{"y", kInt32}},
       .fields = window_fields<ConvInteger>() + std::vector{field("group", &ConvInteger::group, kPositive)},
       .infer = infer_conv_integer,
       .evaluate = conv_integer,
       .settle = settle_conv_integer,
       .macs = [](const Node&, std::span<const Shape> in,
                  std::span<const Shape> out) { return conv_macs(in[1], out[0]); }},
      {.name = "QLinearConv",
       .since = 10,
       .prototype = QLinearConv{},
       .inputs = {{"x", kByte, 'X'},
                  parameter("x_scale", kReal),
                  parameter("x_zero_point", kByte, 'X'),
                  {"w", kByte, 'W'},
                  parameter("w_scale", kReal),
                  parameter("w_zero_point", kByte, 'W'),
                  parameter("y_scale", kReal),
                  parameter("y_zero_point", kByte, 'Y'),
                  parameter("B", kInt32, 0, optional)},
       .outputs = {{"y", kByte, 'Y'}},
       .fields = window_fields<QLinearConv>() + std::vector{field("group", &QLinearConv::group, kPositive)},
       .infer = infer_qlinear_conv,
       .evaluate = qlinear_conv,
       .settle = settle_qlinear_conv,
       .macs = [](const Node&, std::span<const Shape> in,
                  std::span<const Shape> out) { return conv_macs(in[3], out[0]); }},
      {.name = "MatMulInteger",
       .since = 10,
       .prototype = MatMulInteger{},
       .inputs = {{"A", kByte, 'X'},
                  {"B", kByte, 'W'},
                  parameter("a_zero_point", kByte, 'X', optional),
                  parameter("b_zero_point", kByte, 'W', optional)},
       .outputs = {{"Y", kInt32}},
       .infer = infer_matmul_integer,
       .evaluate = matmul_integer,
       .macs = [](const Node&, std::span<const Shape> in,
                  std::span<const Shape> out) { return product(out[0]) * in[0].back(); }},
      {.name = "QLinearMatMul",
       .since = 10,
       .prototype = QLinearMatMul{},
       .inputs = {{"a", kByte, 'X'},
                  parameter("a_scale", kReal),
                  parameter("a_zero_point", kByte, 'X'),
                  {"b", kByte, 'W'},
                  parameter("b_scale", kReal),
                  parameter("b_zero_point", kByte, 'W'),
                  parameter("y_scale", kReal),
                  parameter("y_zero_point", kByte, 'Y')},
       .outputs = {{"y", kByte, 'Y'}},
       .infer = infer_qlinear_matmul,
       .evaluate = qlinear_matmul,
       .macs = [](const Node&, std::span<const Shape> in,
                  std::span<const Shape> out) { return product(out[0]) * in[0].back(); }},
  };
}

}  // namespace bitfold::ops
