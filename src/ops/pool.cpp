// Pooling over one, two or three spatial axes.
//
// Padding is never the maximum. An average divides by the number of taps inside the input or, with count_include_pad,
// inside the padded input; taps that ceil_mode adds past the padding count in neither case.
#include "ops/pool.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "ops/folds.h"
#include "ops/operands.h"
#include "ops/operator.h"
#include "ops/window.h"

namespace bitfold::ops {
namespace {

/// The values and, for a maximum, their indices.
Outputs infer_pool(const Inputs& in) {
  const auto& op = std::get<Pool>(in.node.op);
  const auto shape = pooled_shape(in, op.window, op.ceil_mode);
  return {like(in[0], shape), {.dtype = DataType::int64, .shape = shape, .elements = {}}};
}

Outputs infer_global_pool(const Inputs& in) {
  if (!in.shape(0)) return {real({})};
  Shape y = *in.shape(0);
  check(y.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(y));
  std::fill(y.begin() + 2, y.end(), 1);
  return {real(y)};
}

/// The initial value of a search for the largest element.
template <class T>
constexpr T lowest() {
  return std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
}

float average_of(const Window3d& a, const float* plane, const PoolCell& c, bool count_padding) {
  double sum = 0;
  for (std::int64_t kz = c.z.begin; kz < c.z.end; ++kz)
    for (std::int64_t ky = c.y.begin; ky < c.y.end; ++ky) {
      const float* row = plane + c.first + (kz * a[0].dilation * a[1].in + ky * a[1].dilation) * a[2].in;
      for (std::int64_t kx = c.x.begin; kx < c.x.end; ++kx) sum += row[kx * a[2].dilation];
    }
  const std::int64_t count = count_padding ? c.z.padded_count * c.y.padded_count * c.x.padded_count
                                           : (c.z.end - c.z.begin) * (c.y.end - c.y.begin) * (c.x.end - c.x.begin);
  return count > 0 ? static_cast<float>(sum / static_cast<double>(count)) : 0.0F;
}

/// The common 2 x 2 window without padding, in a form that vectorizes.
bool is_2x2(const Window3d& a) {
  for (const WindowAxis& axis : {a[1], a[2]})
    if (axis.kernel != 2 || axis.stride != 2 || axis.dilation != 1 || axis.pad_begin != 0 || axis.out * 2 > axis.in)
      return false;
  return a[0].in == 1 && a[0].kernel == 1;
}

template <class T>
T largest(T top_left, T top_right, T bottom_left, T bottom_right) {
  return std::max(std::max(top_left, top_right), std::max(bottom_left, bottom_right));
}

template <class T>
void max_2x2(const Window3d& a, std::int64_t planes, const T* x, T* y) {
  for (std::int64_t p = 0; p < planes; ++p)
    for (std::int64_t oy = 0; oy < a[1].out; ++oy) {
      const T *top = x + (p * a[1].in + oy * 2) * a[2].in, *bottom = top + a[2].in;
      for (std::int64_t ox = 0; ox < a[2].out; ++ox)
        *y++ = largest(top[2 * ox], top[2 * ox + 1], bottom[2 * ox], bottom[2 * ox + 1]);
    }
}

/// The maximum along rows of the maxima of the window's rows: both loops read adjacent elements.
template <class T>
void max_pool(const Window3d& a, const TensorView& in, const TensorView& out) {
  const std::int64_t planes = in.shape[0] * in.shape[1], plane = a[0].in * a[1].in * a[2].in, width = a[2].in;
  const T* x = in.as<T>();
  T* y = out.as<T>();
  if (is_2x2(a)) return max_2x2(a, planes, x, y);
  const auto keep_larger = [](T best, T v) { return std::max(best, v); };
  std::vector<T> highest(static_cast<std::size_t>(width));
  for_each_row(a, planes, [&](std::int64_t p, const Taps& z, const Taps& rows, std::int64_t first) {
    std::ranges::fill(highest, lowest<T>());
    for (std::int64_t kz = z.begin; kz < z.end; ++kz)
      for (std::int64_t ky = rows.begin; ky < rows.end; ++ky)
        fold_row(highest.data(), x + p * plane + first + (kz * a[0].dilation * a[1].in + ky * a[1].dilation) * width,
                 width, keep_larger);
    std::fill_n(y, a[2].out, lowest<T>());
    for (std::int64_t kx = 0; kx < a[2].kernel; ++kx) {
      const auto [begin, end] = outputs_of_tap(a[2], kx);
      if (begin == end) continue;
      const T* taps_of_row = highest.data() + a[2].tap(begin, kx);
      if (a[2].stride == 1)
        fold_row(y + begin, taps_of_row, end - begin, keep_larger);
      else
        for (std::int64_t i = 0; i < end - begin; ++i)
          y[begin + i] = std::max(y[begin + i], taps_of_row[i * a[2].stride]);
    }
    y += a[2].out;
  });
}

/// The first of the largest taps as an index into the plane, and -1 if all are padding. `column_major`: the first
/// spatial axis counts fastest.
template <class T>
std::int64_t index_of_max(const Window3d& a, const T* plane, const PoolCell& c, bool column_major) {
  std::int64_t found = -1;
  T best{};
  for (std::int64_t kz = c.z.begin; kz < c.z.end; ++kz)
    for (std::int64_t ky = c.y.begin; ky < c.y.end; ++ky)
      for (std::int64_t kx = c.x.begin; kx < c.x.end; ++kx) {
        const std::int64_t tap =
            c.first + (kz * a[0].dilation * a[1].in + ky * a[1].dilation) * a[2].in + kx * a[2].dilation;
        if (found >= 0 && !(plane[tap] > best)) continue;
        found = tap;
        best = plane[tap];
      }
  if (found < 0 || !column_major) return found;
  const std::int64_t x = found % a[2].in, y = found / a[2].in % a[1].in, z = found / (a[2].in * a[1].in);
  return z + (y + x * a[1].in) * a[0].in;
}

/// Indices count over the whole input, batch and channels included.
void max_indices(const Window3d& a, const TensorView& in, const TensorView& out, bool column_major) {
  const std::int64_t planes = in.shape[0] * in.shape[1], plane = a[0].in * a[1].in * a[2].in;
  std::int64_t* y = out.as<std::int64_t>();
  const auto search = [&](auto zero) {
    const auto* x = in.as<decltype(zero)>();
    for_each_cell(a, planes, [&](std::int64_t p, const PoolCell& cell) {
      const std::int64_t index = index_of_max(a, x + p * plane, cell, column_major);
      *y++ = index < 0 ? index : p * plane + index;
    });
  };
  if (in.dtype == DataType::int8) return search(std::int8_t{});
  if (in.dtype == DataType::uint8) return search(std::uint8_t{});
  search(float{});
}

void average_pool(const Window3d& a, const TensorView& in, const TensorView& out, bool count_padding) {
  const std::int64_t planes = in.shape[0] * in.shape[1], plane = a[0].in * a[1].in * a[2].in;
  const float* x = in.as<float>();
  float* y = out.as<float>();
  for_each_cell(a, planes, [&](std::int64_t p, const PoolCell& cell) {
    *y++ = average_of(a, x + p * plane, cell, count_padding);
  });
}

void pool(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Pool>(node.op);
  const Window3d a = window_3d(op.window, in[0].shape, out[0].shape);
  if (op.kind == PoolKind::average) return average_pool(a, in[0], out[0], op.count_include_pad);
  if (is_given(out, 1)) max_indices(a, in[0], out[1], op.column_major_indices);
  if (out[0].data == nullptr) return;
  if (in[0].dtype == DataType::int8) return max_pool<std::int8_t>(a, in[0], out[0]);
  if (in[0].dtype == DataType::uint8) return max_pool<std::uint8_t>(a, in[0], out[0]);
  max_pool<float>(a, in[0], out[0]);
}

void global_pool(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::int64_t planes = in[0].shape[0] * in[0].shape[1], plane = product(in[0].shape.subspan(2));
  const float* x = in[0].as<float>();
  float* y = out[0].as<float>();
  const bool is_max = std::get<GlobalPool>(node.op).kind == PoolKind::max;
  for (std::int64_t p = 0; p < planes; ++p, x += plane) {
    if (!is_max) {
      y[p] = static_cast<float>(sum_of(x, plane, [](double v) { return v; }) / static_cast<double>(plane));
      continue;
    }
    const auto keep_larger = [](float a, float b) { return b > a ? b : a; };
    Lanes<float> lanes(plane > 0 ? x[0] : -std::numeric_limits<float>::infinity());
    lanes.add(x, plane, keep_larger);
    y[p] = lanes.result(keep_larger);
  }
}

}  // namespace

std::optional<Shape> pooled_shape(const Inputs& in, const Window& window, bool ceil_mode) {
  if (!in.shape(0)) return std::nullopt;
  const Shape& x = *in.shape(0);
  check(x.size() >= 3, "input has shape {}, expected batch, channels and at least one spatial axis", to_string(x));
  Shape y{x[0], x[1]};
  const auto spatial = resolve_window(window, spatial_of(x), ceil_mode).output;
  y.insert(y.end(), spatial.begin(), spatial.end());
  return y;
}

void max_pool_channels_last(const Node& node, const TensorView& in, const TensorView& out) {
  const Window3d a = window_3d(std::get<Pool>(node.op).window, in.shape, out.shape);
  const std::int64_t channels = in.shape[1], width = a[2].in;
  const float* image = in.as<float>();
  float* y = out.as<float>();
  for (std::int64_t n = 0; n < in.shape[0]; ++n, image += a[1].in * width * channels) {
    const auto pixel = [&](std::int64_t row, std::int64_t column) { return image + (row * width + column) * channels; };
    for (std::int64_t oy = 0; oy < a[1].out; ++oy)
      for (std::int64_t ox = 0; ox < a[2].out; ++ox, y += channels) {
        if (is_2x2(a)) {
          const float *top = pixel(2 * oy, 2 * ox), *bottom = pixel(2 * oy + 1, 2 * ox);
          for (std::int64_t c = 0; c < channels; ++c)
            y[c] = largest(top[c], top[c + channels], bottom[c], bottom[c + channels]);
          continue;
        }
        std::fill_n(y, channels, -std::numeric_limits<float>::infinity());
        const Taps rows = taps(a[1], oy), columns = taps(a[2], ox);
        for (std::int64_t ky = rows.begin; ky < rows.end; ++ky)
          for (std::int64_t kx = columns.begin; kx < columns.end; ++kx) {
            const float* x = pixel(a[1].tap(oy, ky), a[2].tap(ox, kx));
            for (std::int64_t c = 0; c < channels; ++c) y[c] = std::max(y[c], x[c]);
          }
      }
  }
}
namespace {

std::optional<std::string> settle_pool(Op& op, const Inputs& in) {
  Window& window = std::get<Pool>(op).window;
  check(!window.kernel.empty(), "attribute 'kernel_shape' is missing");
  return settle_window(window, in.shape(0));
}

}  // namespace

std::vector<OperatorInfo> pool_operators() {
  const TypeSet comparable = kReal | TypeSet{DataType::int8, DataType::uint8};
  const std::vector<Slot> x{{"X", kReal, 'T'}}, y{{"Y", kReal, 'T'}};
  const auto fields = window_fields<Pool>() + std::vector{field("ceil_mode", &Pool::ceil_mode)};
  const Traits picks{.moves_elements = true,
                     .selects_by_value = true,
                     .averages = true,
                     .commutes_with_positive_scale = true,
                     .keeps_channels = true};
  const Traits averages{.averages = true, .commutes_with_positive_scale = true, .keeps_channels = true};
  return {
      {.name = "MaxPool",
       .since = 12,
       .prototype = Pool{.kind = PoolKind::max},
       .inputs = {{"X", comparable, 'T'}},
       .outputs = {{"Y", comparable, 'T'}, {"Indices", kInt64, 0, Presence::optional}},
       .fields = fields + std::vector{field("storage_order", &Pool::column_major_indices)},
       .infer = infer_pool,
       .evaluate = pool,
       .settle = settle_pool,
       .traits = picks,
       .role = Role::movement,
       .bounds = within_first},
      {.name = "AveragePool",
       .since = 19,
       .prototype = Pool{.kind = PoolKind::average},
       .inputs = x,
       .outputs = y,
       .fields = fields + std::vector{field("count_include_pad", &Pool::count_include_pad)},
       .infer = infer_pool,
       .evaluate = pool,
       .settle = settle_pool,
       .traits = averages,
       .role = Role::arithmetic,
       .bounds = within_first_and_zero},
      {.name = "GlobalMaxPool",
       .prototype = GlobalPool{PoolKind::max},
       .inputs = x,
       .outputs = y,
       .infer = infer_global_pool,
       .evaluate = global_pool,
       .traits = picks,
       .role = Role::movement,
       .bounds = within_first},
      {.name = "GlobalAveragePool",
       .prototype = GlobalPool{PoolKind::average},
       .inputs = x,
       .outputs = y,
       .infer = infer_global_pool,
       .evaluate = global_pool,
       .traits = averages,
       .role = Role::arithmetic,
       .bounds = within_first_and_zero},
  };
}

}  // namespace bitfold::ops
