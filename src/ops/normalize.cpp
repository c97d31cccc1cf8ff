// Normalizations and Softmax. Sums, means and variances are computed in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/folds.h"
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

Outputs infer_batch_norm(const Inputs& in) {
  if (in.shape(0)) {
    const Shape& x = *in.shape(0);
    check(x.size() >= 2, "input has shape {}, expected batch and channels", to_string(x));
    for (std::size_t i = 1; i < in.size(); ++i)
      if (in.has(i) && in.shape(i) && !is_unknown(x[1]))
        check(in.shape(i)->size() == 1 && (is_unknown(in.shape(i)->front()) || in.shape(i)->front() == x[1]),
              "parameter {} has shape {}, but the input has {} channels", i, to_string(*in.shape(i)), x[1]);
  }
  return {real(in.shape(0))};
}

Outputs infer_group_norm(const Inputs& in) {
  const std::int64_t groups = std::get<GroupNorm>(in.node.op).num_groups;
  const Outputs outputs = infer_batch_norm(in);
  if (in.shape(0))
    check(groups >= 1 && (is_unknown((*in.shape(0))[1]) || (*in.shape(0))[1] % groups == 0),
          "{} channels cannot be divided into {} groups", (*in.shape(0))[1], groups);
  return outputs;
}

/// Input `slot`, called `name`, must broadcast to X.
void check_broadcasts(const Inputs& in, std::size_t slot, std::string_view name) {
  if (!in.has(slot) || !in.shape(0) || !in.shape(slot)) return;
  const Shape both = broadcast(*in.shape(0), *in.shape(slot));
  bool fits = both.size() == in.shape(0)->size();
  for (std::size_t i = 0; fits && i < both.size(); ++i)
    fits = is_unknown((*in.shape(0))[i]) || both[i] == (*in.shape(0))[i];
  check(fits, "{} of shape {} does not broadcast to X of shape {}", name, to_string(*in.shape(slot)),
        to_string(*in.shape(0)));
}

Outputs infer_softmax(const Inputs& in) {
  const auto& op = std::get<Softmax>(in.node.op);
  if (in.shape(0) && !op.flattened) normalize_axis(op.axis, in.shape(0)->size());
  return infer_same(in);
}

/// The mean and the inverse deviation have size 1 along the axes over which they are taken.
Outputs infer_layer_norm(const Inputs& in) {
  Outputs outputs(in.node.outputs.size(), real({}));
  outputs[0] = real(in.shape(0));
  if (!in.shape(0)) return outputs;
  Shape moments = *in.shape(0);
  const std::size_t axis = at(normalize_axis(std::get<LayerNorm>(in.node.op).axis, moments.size()));
  std::fill(moments.begin() + static_cast<std::ptrdiff_t>(axis), moments.end(), 1);
  check_broadcasts(in, 1, "Scale");
  check_broadcasts(in, 2, "B");
  for (std::size_t i = 1; i < outputs.size(); ++i) outputs[i].shape = moments;
  return outputs;
}

Outputs infer_rms_norm(const Inputs& in) {
  if (in.shape(0)) normalize_axis(std::get<RmsNorm>(in.node.op).axis, in.shape(0)->size());
  check_broadcasts(in, 1, "scale");
  return infer_same(in);
}

Outputs infer_lp_norm(const Inputs& in) {
  if (in.shape(0)) normalize_axis(std::get<LpNorm>(in.node.op).axis, in.shape(0)->size());
  return infer_same(in);
}

Outputs infer_mean_variance(const Inputs& in) {
  if (in.shape(0))
    for (std::int64_t axis : std::get<MeanVarianceNorm>(in.node.op).axes) normalize_axis(axis, in.shape(0)->size());
  return infer_same(in);
}

/// y = k * x + b for n adjacent elements.
void scale_shift(const float* x, float* y, std::int64_t n, double k, double b) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(k * static_cast<double>(x[i]) + b);
}

void batch_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const std::int64_t channels = shape.size() > 1 ? shape[1] : 1;
  const std::int64_t plane = shape.size() > 2 ? product(shape.subspan(2)) : 1;
  const std::int64_t batch = shape.empty() ? 1 : shape[0];
  const float *gamma = in[1].as<float>(), *beta = in[2].as<float>(), *mean = in[3].as<float>(),
              *variance = in[4].as<float>();
  const double epsilon = std::get<BatchNorm>(node.op).epsilon;
  for (std::int64_t n = 0; n < batch; ++n)
    for (std::int64_t c = 0; c < channels; ++c) {
      const double k = gamma[c] / std::sqrt(variance[c] + epsilon);
      const std::int64_t start = (n * channels + c) * plane;
      scale_shift(in[0].as<float>() + start, out[0].as<float>() + start, plane, k, beta[c] - k * mean[c]);
    }
}

struct Moments {
  double mean = 0, inverse_deviation = 0;
};
Moments moments(const float* x, std::int64_t n, double epsilon) {
  const double mean = sum_of(x, n, [](double v) { return v; }) / static_cast<double>(n);
  const double squares = sum_of(x, n, [mean](double v) { return (v - mean) * (v - mean); });
  return {mean, 1 / std::sqrt(squares / static_cast<double>(n) + epsilon)};
}

void instance_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[0].shape;
  const std::int64_t channels = shape[1], plane = product(shape.subspan(2));
  const float *gamma = in[1].as<float>(), *beta = in[2].as<float>();
  for (std::int64_t p = 0; p < shape[0] * channels; ++p) {
    const float* x = in[0].as<float>() + p * plane;
    const Moments m = moments(x, plane, std::get<InstanceNorm>(node.op).epsilon);
    const double k = gamma[p % channels] * m.inverse_deviation;
    scale_shift(x, out[0].as<float>() + p * plane, plane, k, beta[p % channels] - k * m.mean);
  }
}

void group_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<GroupNorm>(node.op);
  const auto shape = in[0].shape;
  const std::int64_t channels = shape[1] / op.num_groups, plane = product(shape.subspan(2));
  const float *scale = in[1].as<float>(), *bias = in[2].as<float>();
  for (std::int64_t g = 0; g < shape[0] * op.num_groups; ++g) {
    const std::int64_t start = g * channels * plane, first = g % op.num_groups * channels;
    const Moments m = moments(in[0].as<float>() + start, channels * plane, op.epsilon);
    for (std::int64_t c = 0; c < channels; ++c) {
      const double k = scale[first + c] * m.inverse_deviation;
      scale_shift(in[0].as<float>() + start + c * plane, out[0].as<float>() + start + c * plane, plane, k,
                  bias[first + c] - k * m.mean);
    }
  }
}

void layer_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<LayerNorm>(node.op);
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(op.axis, shape.size());
  const std::int64_t rows = product(shape.first(axis)), n = product(shape.subspan(axis));
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* x = in[0].as<float>() + r * n;
    const Moments m = moments(x, n, op.epsilon);
    if (is_given(out, 0))
      scale_shift(x, out[0].as<float>() + r * n, n, m.inverse_deviation, -m.mean * m.inverse_deviation);
    if (is_given(out, 1)) out[1].as<float>()[r] = static_cast<float>(m.mean);
    if (is_given(out, 2)) out[2].as<float>()[r] = static_cast<float>(m.inverse_deviation);
  }
  if (!is_given(out, 0)) return;
  map<float, float, float>(out[0], in[1], out[0], [](float y, float gamma) { return y * gamma; });
  if (is_given(in, 2)) map<float, float, float>(out[0], in[2], out[0], [](float y, float beta) { return y + beta; });
}

void rms_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<RmsNorm>(node.op);
  const auto shape = in[0].shape;
  const std::size_t axis = wrapped_axis(op.axis, shape.size());
  const std::int64_t rows = product(shape.first(axis)), n = product(shape.subspan(axis));
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* x = in[0].as<float>() + r * n;
    const double squares = sum_of(x, n, [](double v) { return v * v; });
    const double k = 1 / std::sqrt(squares / static_cast<double>(n) + op.epsilon);
    scale_shift(x, out[0].as<float>() + r * n, n, k, 0);
  }
  map<float, float, float>(out[0], in[1], out[0], [](float y, float scale) { return y * scale; });
}

/// A vector of zeros stays unchanged.
void lp_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<LpNorm>(node.op);
  const auto [outer, n, inner] = axis_vectors(in[0].shape, op.axis, false);
  const float* x = in[0].as<float>();
  float* y = out[0].as<float>();
  const auto normalize = [p = op.p](auto add_sizes, auto divide) {
    if (p == 1) {
      add_sizes([](double v) { return std::abs(v); });
      return divide([](double sum) { return sum; });
    }
    add_sizes([](double v) { return v * v; });
    divide([](double sum) { return std::sqrt(sum); });
  };
  const auto quotient = [](float v, double norm) { return norm == 0 ? 0.0F : static_cast<float>(v / norm); };
  constexpr std::int64_t kColumns = 256;
  std::array<double, kColumns> sums;
  for (std::int64_t o = 0; o < outer; ++o, x += n * inner, y += n * inner)
    for (std::int64_t first = 0; first < inner; first += kColumns) {
      const std::int64_t count = std::min(kColumns, inner - first);
      const auto add_sizes = [&, n = n, inner = inner](auto size) {
        if (inner == 1) {
          sums[0] = sum_of(x, n, size);
          return;
        }
        std::fill_n(sums.begin(), count, 0.0);
        for (std::int64_t k = 0; k < n; ++k)
          fold_row(sums.data(), x + k * inner + first, count,
                   [size](double sum, float v) { return sum + size(static_cast<double>(v)); });
      };
      const auto divide = [&, n = n, inner = inner](auto root) {
        for (std::int64_t i = 0; i < count; ++i) sums[at(i)] = root(sums[at(i)]);
        const double norm = sums[0];
        if (inner == 1 && norm != 0) {
          for (std::int64_t k = 0; k < n; ++k) y[k] = static_cast<float>(x[k] / norm);
          return;
        }
        for (std::int64_t k = 0; k < n; ++k) {
          const std::int64_t row = k * inner + first;
          for (std::int64_t i = 0; i < count; ++i) y[row + i] = quotient(x[row + i], sums[at(i)]);
        }
      };
      normalize(add_sizes, divide);
    }
}

/// (x - mean) / (deviation + 1e-9), as in the function body by which ONNX defines the operator.
void mean_variance_norm(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  constexpr double kEpsilon = 1e-9;
  const auto shape = in[0].shape;
  std::array<bool, kMaxRank> is_reduced{};
  const Strides strides = dense_strides(shape);
  for (std::int64_t axis : std::get<MeanVarianceNorm>(node.op).axes)
    is_reduced[wrapped_axis(axis, shape.size())] = true;
  Loops<1> kept, reduced;
  std::int64_t count = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    (is_reduced[i] ? reduced : kept).add(shape[i], {strides[i]});
    if (is_reduced[i]) count *= shape[i];
  }
  const auto group = [&](const float* x, float* y) {
    const auto sum = [&](auto f) {
      double total = 0;
      reduced.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
        if (steps[0] == 1) {
          total += sum_of(x + offsets[0], n, f);
          return;
        }
        for (std::int64_t i = 0; i < n; ++i) total += f(static_cast<double>(x[offsets[0] + i * steps[0]]));
      });
      return total / static_cast<double>(count);
    };
    const double mean = sum([](double v) { return v; });
    const double k = 1 / (std::sqrt(sum([mean](double v) { return (v - mean) * (v - mean); })) + kEpsilon);
    reduced.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t at = offsets[0] + i * steps[0];
        y[at] = static_cast<float>((x[at] - mean) * k);
      }
    });
  };
  kept.for_each_row([&](const auto& offsets, std::int64_t n, const auto& steps) {
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t at = offsets[0] + i * steps[0];
      group(in[0].as<float>() + at, out[0].as<float>() + at);
    }
  });
}

/// y = x / (bias + alpha / size * sum of x^2 over `size` adjacent channels)^beta
void lrn(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Lrn>(node.op);
  const auto shape = in[0].shape;
  const std::int64_t channels = shape[1], plane = product(shape.subspan(2));
  const std::int64_t before = (op.size - 1) / 2, after = op.size - 1 - before;
  const float* x = in[0].as<float>();
  float* y = out[0].as<float>();
  for (std::int64_t n = 0; n < shape[0]; ++n, x += channels * plane)
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t first = std::max<std::int64_t>(0, c - before), last = std::min(channels - 1, c + after);
      for (std::int64_t i = 0; i < plane; ++i) {
        double squares = 0;
        for (std::int64_t k = first; k <= last; ++k)
          squares += static_cast<double>(x[k * plane + i]) * x[k * plane + i];
        const double base = op.bias + static_cast<double>(op.alpha) / static_cast<double>(op.size) * squares;
        *y++ = static_cast<float>(x[c * plane + i] / std::pow(base, static_cast<double>(op.beta)));
      }
    }
}

/// One distribution of n elements with stride `step`. The maximum is subtracted first, so that nothing overflows.
void softmax_row(const float* x, float* y, std::int64_t n, std::int64_t step, bool log) {
  float top = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) top = std::max(top, x[i * step]);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    y[i * step] = std::exp(x[i * step] - top);
    sum += y[i * step];
  }
  if (log) {
    // The maximum first: the logarithm would vanish beside a large one.
    const double shift = std::log(sum), maximum = top;
    for (std::int64_t i = 0; i < n; ++i) y[i * step] = static_cast<float>(x[i * step] - maximum - shift);
  } else {
    const double factor = 1 / sum;
    for (std::int64_t i = 0; i < n; ++i) y[i * step] = static_cast<float>(y[i * step] * factor);
  }
}

void softmax(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Softmax>(node.op);
  const auto [outer, n, inner] = axis_vectors(in[0].shape, op.axis, op.flattened);
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      const std::int64_t start = o * n * inner + i;
      softmax_row(in[0].as<float>() + start, out[0].as<float>() + start, n, inner, op.log);
    }
}

}  // namespace

std::vector<OperatorInfo> normalize_operators() {
  const Slot x{"X", kReal, 'T'}, y{"Y", kReal, 'T'};
  const auto parameter = [](std::string_view name) {
    return Slot{name, kReal, 'T', Presence::required, Use::parameter};
  };
  const auto row = [&](std::string_view name, int since, Op prototype, std::vector<Slot> inputs,
                       std::vector<Field> fields, Infer infer, Evaluate evaluate) {
    return OperatorInfo{.name = name,
                        .since = since,
                        .prototype = std::move(prototype),
                        .inputs = std::move(inputs),
                        .outputs = {y},
                        .fields = std::move(fields),
                        .infer = infer,
                        .evaluate = evaluate};
  };
  OperatorInfo batch_norm_row =
      row("BatchNormalization", 14, BatchNorm{},
          {x, parameter("scale"), parameter("B"), parameter("input_mean"), parameter("input_var")},
          {field("epsilon", &BatchNorm::epsilon), ignored<float>("momentum"), only<std::int64_t>("training_mode", 0)},
          infer_batch_norm, batch_norm);
  batch_norm_row.traits.is_channelwise = true;
  OperatorInfo softmax_row =
      row("Softmax", 13, Softmax{}, {x}, {field("axis", &Softmax::axis), internal("flattened", &Softmax::flattened)},
          infer_softmax, softmax);
  softmax_row.bounds = from_zero_to_one;
  std::vector<OperatorInfo> rows{
      batch_norm_row,
      row("InstanceNormalization", 6, InstanceNorm{}, {x, parameter("scale"), parameter("B")},
          {field("epsilon", &InstanceNorm::epsilon)}, infer_batch_norm, instance_norm),
      row("LayerNormalization", 17, LayerNorm{},
          {x, parameter("Scale"), {"B", kReal, 'T', Presence::optional, Use::parameter}},
          {field("axis", &LayerNorm::axis), field("epsilon", &LayerNorm::epsilon), only<std::int64_t>("stash_type", 1)},
          infer_layer_norm, layer_norm),
      row("GroupNormalization", 21, GroupNorm{}, {x, parameter("scale"), parameter("bias")},
          {required(field("num_groups", &GroupNorm::num_groups, Interval{.min = 1})),
           field("epsilon", &GroupNorm::epsilon), only<std::int64_t>("stash_type", 1)},
          infer_group_norm, group_norm),
      row("LRN", 1, Lrn{}, {x},
          {required(field("size", &Lrn::size, Interval{.min = 1})), field("alpha", &Lrn::alpha),
           field("beta", &Lrn::beta), field("bias", &Lrn::bias)},
          infer_same, lrn),
      softmax_row,
      row("LogSoftmax", 13, Softmax{.log = true}, {x},
          {field("axis", &Softmax::axis), internal("flattened", &Softmax::flattened)}, infer_softmax, softmax),
      row("RMSNormalization", 23, RmsNorm{},
          {{"X", kReal, 'T'}, {"scale", kReal, 'V', Presence::required, Use::parameter}},
          {field("axis", &RmsNorm::axis), field("epsilon", &RmsNorm::epsilon), only<std::int64_t>("stash_type", 1)},
          infer_rms_norm, rms_norm),
      row("LpNormalization", 1, LpNorm{}, {x},
          {field("axis", &LpNorm::axis), field("p", &LpNorm::p, Interval{.min = 1, .max = 2})}, infer_lp_norm, lp_norm),
      row("MeanVarianceNormalization", 9, MeanVarianceNorm{}, {x}, {field("axes", &MeanVarianceNorm::axes)},
          infer_mean_variance, mean_variance_norm),
  };
  for (OperatorInfo& r : rows) {
    if (r.name == "RMSNormalization") r.outputs = {{"Y", kReal, 'V'}};
    if (r.name == "LayerNormalization") r.outputs = {y, {"Mean", kReal}, {"InvStdDev", kReal}};
  }
  return rows;
}

}  // namespace bitfold::ops
