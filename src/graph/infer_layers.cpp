// Shapes of the operators that compute: convolutions, products, normalization, pools, reductions.
#include <algorithm>

#include "graph/infer.h"
#include "graph/window.h"

namespace bitfold::infer {
namespace {

Shape spatial_of(const Shape& shape) { return {shape.begin() + 2, shape.end()}; }

void check_bias(const Inputs& in, std::int64_t channels) {
  if (!in.has(2) || !in.shape(2)) return;
  const Shape& bias = *in.shape(2);
  check(bias.size() == 1 && (bias[0] == channels || is_unknown(bias[0]) || is_unknown(channels)),
        "bias has shape {}, expected {}", to_string(bias), channels);
}

ValueInfo real(std::optional<Shape> shape) {
  return {.dtype = DataType::float32, .shape = std::move(shape), .elements = {}};
}

}  // namespace

Outputs conv(const Conv& op, const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  const Shape &x = *in.shape(0), &w = *in.shape(1);
  check(x.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(x));
  check(w.size() == x.size(), "weights have shape {}, input has {}", to_string(w), to_string(x));
  check(op.group >= 1 && (is_unknown(w[0]) || w[0] % op.group == 0),
        "{} output channels cannot be split into {} groups", w[0], op.group);
  if (!is_unknown(x[1]) && !is_unknown(w[1]))
    check(multiply(w[1], op.group) == x[1], "weights have {} input channels{}, input has {}", multiply(w[1], op.group),
          op.group > 1 ? fmt::format(" ({} in each of {} groups)", w[1], op.group) : "", x[1]);
  Window window = op.window;
  for (std::size_t i = 0; i + 2 < w.size(); ++i)
    if (i < window.kernel.size())
      check(is_unknown(w[i + 2]) || window.kernel[i] == w[i + 2], "kernel_shape {} differs from the weights' {}",
            to_string(window.kernel), to_string(w));
  check_bias(in, w[0]);
  Shape y{x[0], w[0]};
  const auto spatial = resolve_window(window, spatial_of(x), false).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return {real(y)};
}

Outputs conv_transpose(const ConvTranspose& op, const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  const Shape &x = *in.shape(0), &w = *in.shape(1);
  check(x.size() >= 3 && w.size() == x.size(), "weights have shape {}, input has {}", to_string(w), to_string(x));
  check(is_unknown(x[1]) || is_unknown(w[0]) || x[1] == w[0], "weights have {} input channels, input has {}", w[0],
        x[1]);
  check(op.group >= 1 && (is_unknown(w[0]) || w[0] % op.group == 0), "{} input channels cannot be split into {} groups",
        w[0], op.group);
  Shape y{x[0], multiply(w[1], op.group)};
  check_bias(in, y[1]);
  for (std::size_t i = 0; i + 2 < w.size(); ++i)
    if (i < op.window.kernel.size())
      check(is_unknown(w[i + 2]) || op.window.kernel[i] == w[i + 2], "kernel_shape {} differs from the weights' {}",
            to_string(op.window.kernel), to_string(w));
  const auto spatial = resolve_transposed_window(op, spatial_of(x)).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return {real(y)};
}

Outputs gemm(const Gemm& op, const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  const Shape &a = *in.shape(0), &b = *in.shape(1);
  check(a.size() == 2 && b.size() == 2, "A has shape {} and B {}, expected matrices", to_string(a), to_string(b));
  const std::int64_t rows = a[op.trans_a ? 1 : 0], inner_a = a[op.trans_a ? 0 : 1];
  const std::int64_t inner_b = b[op.trans_b ? 1 : 0], columns = b[op.trans_b ? 0 : 1];
  check(inner_a == inner_b || is_unknown(inner_a) || is_unknown(inner_b), "A has {} columns, B has {} rows", inner_a,
        inner_b);
  if (in.has(2) && in.shape(2)) {
    const Shape& c = *in.shape(2);
    const Shape sum = broadcast(c, {rows, columns});
    const auto fits = [](std::int64_t found, std::int64_t size) { return found == size || is_unknown(size); };
    check(sum.size() == 2 && fits(sum[0], rows) && fits(sum[1], columns), "C of shape {} does not broadcast to {}",
          to_string(c), to_string(Shape{rows, columns}));
  }
  return {real(Shape{rows, columns})};
}

Outputs matmul(const Inputs& in) {
  if (!in.shape(0) || !in.shape(1)) return {real({})};
  Shape a = *in.shape(0), b = *in.shape(1);
  check(!a.empty() && !b.empty(), "operands of shape {} and {}: scalars cannot be multiplied as matrices", to_string(a),
        to_string(b));
  const bool is_row = a.size() == 1, is_column = b.size() == 1;
  if (is_row) a.insert(a.begin(), 1);
  if (is_column) b.push_back(1);
  const std::int64_t inner_a = a.back(), inner_b = b[b.size() - 2];
  check(inner_a == inner_b || is_unknown(inner_a) || is_unknown(inner_b),
        "A has {} columns, B has {} rows (shapes {} and {})", inner_a, inner_b, to_string(*in.shape(0)),
        to_string(*in.shape(1)));
  Shape y = broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  if (!is_row) y.push_back(a[a.size() - 2]);
  if (!is_column) y.push_back(b.back());
  return {real(y)};
}

Outputs batch_norm(const Inputs& in) {
  if (in.shape(0)) {
    const Shape& x = *in.shape(0);
    check(x.size() >= 2, "input has shape {}, expected batch and channels", to_string(x));
    for (std::size_t i = 1; i < in.size(); ++i)
      if (in.has(i) && in.shape(i) && !is_unknown(x[1]))
        check(in.shape(i)->size() == 1 && (is_unknown(in.shape(i)->front()) || in.shape(i)->front() == x[1]),
              "parameter {} has shape {}, input has {} channels", i, to_string(*in.shape(i)), x[1]);
  }
  return {real(in.shape(0))};
}

Outputs pool(const Pool& op, const Inputs& in) {
  if (!in.shape(0)) return {{.dtype = in[0].dtype, .shape = {}, .elements = {}}};
  const Shape& x = *in.shape(0);
  check(x.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(x));
  Shape y{x[0], x[1]};
  const auto spatial = resolve_window(op.window, spatial_of(x), op.ceil_mode).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return {{.dtype = in[0].dtype, .shape = y, .elements = {}}};
}

Outputs global_pool(const Inputs& in) {
  if (!in.shape(0)) return {real({})};
  Shape y = *in.shape(0);
  check(y.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(y));
  std::fill(y.begin() + 2, y.end(), 1);
  return {real(y)};
}

Outputs reduce(const Reduce& op, const Inputs& in) {
  ValueInfo y{.dtype = in[0].dtype, .shape = {}, .elements = {}};
  if (!in.shape(0)) return {y};
  const Shape& x = *in.shape(0);
  std::vector<std::int64_t> axes;
  if (in.has(1)) {
    const auto given = in.known(1);
    if (!given) return {y};
    axes = *given;
  }
  if (axes.empty() && op.noop_with_empty_axes) return {in[0]};
  std::vector<bool> is_reduced(x.size(), axes.empty());
  for (std::int64_t axis : axes) is_reduced[static_cast<std::size_t>(normalize_axis(axis, x.size()))] = true;
  y.shape = Shape{};
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!is_reduced[i]) y.shape->push_back(x[i]);
    if (is_reduced[i] && op.keepdims) y.shape->push_back(1);
  }
  y.elements = reduced_elements(op, in);
  if (y.elements && (!is_static(*y.shape) || element_count(*y.shape) != std::ssize(*y.elements))) y.elements.reset();
  return {y};
}

Outputs arg_reduce(const ArgReduce& op, const Inputs& in) {
  ValueInfo y{.dtype = DataType::int64, .shape = {}, .elements = {}};
  if (!in.shape(0)) return {y};
  Shape shape = *in.shape(0);
  const auto axis = normalize_axis(op.axis, shape.size());
  if (op.keepdims)
    shape[static_cast<std::size_t>(axis)] = 1;
  else
    shape.erase(shape.begin() + axis);
  y.shape = shape;
  return {y};
}

}  // namespace bitfold::infer
