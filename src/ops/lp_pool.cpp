// Pools by the p-norm of a window, and the inverse of a MaxPool.
#include <cmath>

#include "ops/operands.h"
#include "ops/operator.h"
#include "ops/pool.h"

namespace bitfold::ops {
namespace {

/// The p-th root of the sum of |x|^p.
class Norm {
 public:
  explicit Norm(std::int64_t p) : p_(static_cast<double>(p)) {}
  void add(float x) {
    const double size = std::abs(static_cast<double>(x));
    sum_ += p_ == 1 ? size : p_ == 2 ? size * size : std::pow(size, p_);
  }
  float root() const { return static_cast<float>(p_ == 1 ? sum_ : p_ == 2 ? std::sqrt(sum_) : std::pow(sum_, 1 / p_)); }

 private:
  double p_, sum_ = 0;
};

Outputs infer_lp_pool(const Inputs& in) {
  const auto& op = std::get<LpPool>(in.node.op);
  return {like(in[0], pooled_shape(in, op.window, op.ceil_mode))};
}

void lp_pool(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<LpPool>(node.op);
  const Window3d a = window_3d(op.window, in[0].shape, out[0].shape);
  const std::int64_t planes = in[0].shape[0] * in[0].shape[1], plane = a[0].in * a[1].in * a[2].in;
  float* y = out[0].as<float>();
  for_each_cell(a, planes, [&](std::int64_t p, const PoolCell& c) {
    Norm norm(op.p);
    for (std::int64_t kz = c.z.begin; kz < c.z.end; ++kz)
      for (std::int64_t ky = c.y.begin; ky < c.y.end; ++ky) {
        const std::int64_t row = c.first + (kz * a[0].dilation * a[1].in + ky * a[1].dilation) * a[2].in;
        for (std::int64_t kx = c.x.begin; kx < c.x.end; ++kx)
          norm.add(in[0].as<float>()[p * plane + row + kx * a[2].dilation]);
      }
    *y++ = norm.root();
  });
}

std::optional<std::string> settle_lp_pool(Op& op, const Inputs& in) {
  Window& window = std::get<LpPool>(op).window;
  check(!window.kernel.empty(), "attribute 'kernel_shape' is missing");
  return settle_window(window, in.shape(0));
}

Outputs infer_global_lp_pool(const Inputs& in) {
  if (!in.shape(0)) return {like(in[0], {})};
  Shape y = *in.shape(0);
  check(y.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(y));
  std::fill(y.begin() + 2, y.end(), 1);
  return {like(in[0], y)};
}

void global_lp_pool(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::int64_t plane = product(in[0].shape.subspan(2)), planes = in[0].shape[0] * in[0].shape[1];
  const float* x = in[0].as<float>();
  for (std::int64_t p = 0; p < planes; ++p) {
    Norm norm(std::get<GlobalLpPool>(node.op).p);
    for (std::int64_t i = 0; i < plane; ++i) norm.add(*x++);
    out[0].as<float>()[p] = norm.root();
  }
}

/// The shape of the MaxPool's input that the window gives; an output_shape may differ from it.
Shape unpooled_shape(const MaxUnpool& op, std::span<const std::int64_t> x) {
  check(x.size() >= 3, "input has {} axes, expected batch, channels and at least one spatial axis", x.size());
  Shape y{x[0], x[1]};
  const auto spatial = resolve_transposed_window({.window = op.window}, x.subspan(2)).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return y;
}

Outputs infer_max_unpool(const Inputs& in) {
  const auto& op = std::get<MaxUnpool>(in.node.op);
  if (in.shape(0) && in.shape(1))
    check(shapes_fit(*in.shape(0), *in.shape(1)), "indices have shape {}, but the input has {}",
          to_string(*in.shape(1)), to_string(*in.shape(0)));
  if (!in.has(2)) {
    if (!in.shape(0)) return {like(in[0], {})};
    return {like(in[0], unpooled_shape(op, *in.shape(0)))};
  }
  const auto rank = length_of(in[2]);
  if (!rank) return {like(in[0], {})};
  check(!in.shape(0) || std::ssize(*in.shape(0)) == *rank, "output_shape has {} elements, but the input has shape {}",
        *rank, in.shape(0) ? to_string(*in.shape(0)) : "");
  Shape y = all_dynamic(*rank);
  for (std::size_t i = 0; i < y.size() && in[2].elements; ++i) {
    const Element& size = (*in[2].elements)[i];
    check(!size || *size >= 0, "output_shape contains {}; no size may be negative", size.value_or(0));
    y[i] = dimension_of(size);
  }
  return {like(in[0], y)};
}

/// Indices count over the shape that follows from the window. An output_shape may be larger; the rest is 0.
void max_unpool(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto y = out[0].shape;
  const Shape inferred = unpooled_shape(std::get<MaxUnpool>(node.op), in[0].shape);
  const std::int64_t count = product(inferred);
  const auto* indices = in[1].as<std::int64_t>();
  const bool keeps_indices = std::ranges::equal(inferred, y);
  const Strides strides = dense_strides(y);
  std::fill_n(out[0].as<float>(), out[0].size(), 0.0F);
  for (std::int64_t i = 0; i < in[0].size(); ++i) {
    const std::int64_t index = indices[i];
    if (index < 0 || index >= count)
      fail("{} index {} is outside a tensor of shape {}", where(node), index, to_string(inferred));
    std::int64_t rest = index, to = keeps_indices ? index : 0;
    for (std::size_t axis = inferred.size(); axis-- > 0 && !keeps_indices;) {
      const std::int64_t coordinate = rest % inferred[axis];
      if (coordinate >= y[axis]) fail("{} index {} is outside axis {} of size {}", where(node), index, axis, y[axis]);
      to += coordinate * strides[axis];
      rest /= inferred[axis];
    }
    out[0].as<float>()[to] = in[0].as<float>()[i];
  }
}

std::optional<std::string> settle_max_unpool(Op& op, const Inputs&) {
  Window& window = std::get<MaxUnpool>(op).window;
  check(!window.kernel.empty(), "attribute 'kernel_shape' is missing");
  return settle_window(window, std::nullopt);
}

}  // namespace

std::vector<OperatorInfo> lp_pool_operators() {
  // ONNX's MaxUnpool has no dilations, but Window has.
  Field dilations = field("dilations", &MaxUnpool::window, &Window::dilations);
  dilations.is_internal = true;
  constexpr Interval kPower{1, 1 << 15};
  const std::vector<Slot> x{{"X", kReal, 'T'}}, y{{"Y", kReal, 'T'}};
  const Traits norms{.commutes_with_positive_scale = true, .keeps_channels = true};
  return {
      {.name = "LpPool",
       .since = 18,
       .prototype = LpPool{},
       .inputs = x,
       .outputs = y,
       .fields = window_fields<LpPool>() +
                 std::vector{field("p", &LpPool::p, kPower), field("ceil_mode", &LpPool::ceil_mode)},
       .infer = infer_lp_pool,
       .evaluate = lp_pool,
       .settle = settle_lp_pool,
       .traits = norms},
      {.name = "GlobalLpPool",
       .since = 2,
       .prototype = GlobalLpPool{},
       .inputs = x,
       .outputs = y,
       .fields = {field("p", &GlobalLpPool::p, kPower)},
       .infer = infer_global_lp_pool,
       .evaluate = global_lp_pool,
       .traits = norms},
      {.name = "MaxUnpool",
       .since = 9,
       .prototype = MaxUnpool{},
       .inputs = {{"X", kReal, 'T'},
                  {"I", kInt64, 0, Presence::required, Use::parameter},
                  {"output_shape", kInt64, 0, Presence::optional, Use::parameter}},
       .outputs = {{"output", kReal, 'T'}},
       .fields = without(window_fields<MaxUnpool>(), {"auto_pad", "dilations"}) + std::vector{dilations},
       .infer = infer_max_unpool,
       .evaluate = max_unpool,
       .settle = settle_max_unpool},
  };
}

}  // namespace bitfold::ops
