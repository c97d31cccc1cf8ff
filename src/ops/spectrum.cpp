// Spectra and windows of signals: DFT, STFT, HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/fft.h"
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {
namespace {

using Complex = Fft::Complex;

void check_scalar(const Inputs& in, std::size_t slot) {
  if (!in.has(slot) || !in.shape(slot) || !is_static(*in.shape(slot))) return;
  check(element_count(*in.shape(slot)) == 1, "{} has shape {}, expected one element",
        info(in.node.op).inputs[slot].name, to_string(*in.shape(slot)));
}

/// The only element of a scalar input; none if it is absent or unknown.
std::optional<std::int64_t> scalar_of(const Inputs& in, std::size_t slot) {
  check_scalar(in, slot);
  const auto known = in.known(slot);
  if (!known || known->size() != 1) return std::nullopt;
  return known->front();
}

/// The number of frequencies in the one-sided spectrum of n samples.
constexpr std::int64_t one_sided(std::int64_t n) { return n / 2 + 1; }

// ---- DFT

enum : std::size_t { kSignal, kLength, kAxis };

Outputs infer_dft(const Inputs& in) {
  const auto& op = std::get<Dft>(in.node.op);
  if (!in.shape(kSignal)) return {real({})};
  Shape y = *in.shape(kSignal);
  const auto given_axis = in.has(kAxis) ? scalar_of(in, kAxis) : std::optional<std::int64_t>(-2);
  check(y.size() >= 2, "input has shape {}, expected a signal and an axis for complex numbers", to_string(y));
  const std::int64_t parts = y.back();
  check(is_unknown(parts) || parts == 1 || parts == 2, "input has shape {}, the last axis must have size 1 or 2",
        to_string(y));
  check(!op.onesided || op.inverse || parts != 2, "onesided is 1, but the input is complex; it must be real");
  y.back() = op.onesided && op.inverse ? 1 : 2;
  if (!given_axis) return {real(all_dynamic(std::ssize(y)))};
  const auto axis = at(normalize_axis(*given_axis, y.size()));
  check(axis + 1 < y.size(), "axis {} holds the parts of complex numbers and cannot be transformed", *given_axis);
  std::int64_t& n = y[axis];
  if (in.has(kLength)) {
    const auto length = scalar_of(in, kLength);
    check(!length || *length > 0, "dft_length is {}; it must be positive", length.value_or(0));
    n = length.value_or(kDynamic);
  } else if (op.onesided && op.inverse && !is_unknown(n)) {
    n = 2 * (n - 1);
    check(n > 0, "input of shape {} is too short for a one-sided spectrum", to_string(*in.shape(kSignal)));
  }
  if (op.onesided && !op.inverse && !is_unknown(n)) n = one_sided(n);
  check_size(y, "output");
  return {real(y)};
}

/// Reads the element at `x` as a complex number of `parts` reals.
Complex complex_at(const float* x, std::int64_t parts) { return parts == 2 ? Complex(x[0], x[1]) : Complex(x[0], 0); }

void dft(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto& op = std::get<Dft>(node.op);
  const auto shape = in[kSignal].shape;
  const std::size_t axis = wrapped_axis(is_given(in, kAxis) ? integer_at(in[kAxis], 0) : -2, shape.size());
  const std::int64_t parts = shape.back(), samples = shape[axis], results = out[0].shape[axis];
  const bool is_real = op.onesided && op.inverse;  // the result
  std::int64_t n = samples;
  if (is_given(in, kLength))
    n = integer_at(in[kLength], 0);
  else if (is_real)
    n = 2 * (samples - 1);
  const std::int64_t outer = product(shape.first(axis));
  const std::int64_t inner = product(shape.subspan(axis + 1, shape.size() - axis - 2));
  if (out[0].size() == 0) return;
  check(n > 0, "{} dft_length is {}; it must be positive", where(node), n);
  Fft fft(at(n));
  std::vector<Complex> x(at(n));
  const std::int64_t used = std::min(samples, is_real ? one_sided(n) : n);
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i) {
      std::ranges::fill(x, Complex{});
      for (std::int64_t k = 0; k < used; ++k)
        x[at(k)] = complex_at(in[kSignal].as<float>() + ((o * samples + k) * inner + i) * parts, parts);
      if (is_real) {
        // The other half is the conjugate; the numbers that are their own conjugates are real.
        x[0] = x[0].real();
        if (n % 2 == 0) x[at(n / 2)] = x[at(n / 2)].real();
        for (std::int64_t k = 1; k < n - k; ++k) x[at(n - k)] = std::conj(x[at(k)]);
      }
      if (op.inverse)
        fft.inverse(x);
      else
        fft.forward(x);
      for (std::int64_t k = 0; k < results; ++k) {
        float* y = out[0].as<float>() + ((o * results + k) * inner + i) * (is_real ? 1 : 2);
        y[0] = static_cast<float>(x[at(k)].real());
        if (!is_real) y[1] = static_cast<float>(x[at(k)].imag());
      }
    }
}

// ---- STFT

enum : std::size_t { kStftSignal, kStep, kWindow, kFrame };

Outputs infer_stft(const Inputs& in) {
  const auto& op = std::get<Stft>(in.node.op);
  if (!in.shape(kStftSignal)) return {real({})};
  const Shape& x = *in.shape(kStftSignal);
  // ONNX Runtime also accepts real signals without the last axis.
  check(x.size() == 2 || x.size() == 3, "signal has shape {}, expected [batch, length] or [batch, length, 1 or 2]",
        to_string(x));
  const std::int64_t parts = x.size() == 3 ? x[2] : 1;
  check(is_unknown(parts) || parts == 1 || parts == 2, "signal has shape {}, the last axis must have size 1 or 2",
        to_string(x));
  check(!op.onesided || parts != 2, "onesided is 1, but the input is complex; it must be real");
  std::int64_t frame = x[1];
  if (in.has(kFrame)) frame = scalar_of(in, kFrame).value_or(kDynamic);
  if (in.has(kWindow)) {
    const auto window = in.shape(kWindow);
    check(!window || window->size() == 1, "window has shape {}, expected one axis",
          to_string(window.value_or(Shape{})));
    const std::int64_t length = window ? window->front() : kDynamic;
    check(!in.has(kFrame) || is_unknown(length) || is_unknown(frame) || length == frame,
          "window has {} elements, but frame_length is {}", length, frame);
    if (!in.has(kFrame) || is_unknown(frame)) frame = length;
  }
  const auto step = scalar_of(in, kStep);
  check(!step || *step > 0, "frame_step is {}; it must be positive", step.value_or(0));
  check(is_unknown(frame) || frame > 0, "frame_length is {}; it must be positive", frame);
  Shape y{x[0], kDynamic, is_unknown(frame) ? kDynamic : op.onesided ? one_sided(frame) : frame, 2};
  if (step && !is_unknown(frame) && !is_unknown(x[1])) {
    check(frame <= x[1], "frames have {} samples, but the signal has only {}", frame, x[1]);
    y[1] = (x[1] - frame) / *step + 1;
  }
  check_size(y, "output");
  return {real(y)};
}

void stft(const Node&, std::span<const TensorView> in, std::span<const TensorView> out) {
  const auto shape = in[kStftSignal].shape;
  const std::int64_t samples = shape[1], parts = shape.size() == 3 ? shape[2] : 1, frames = out[0].shape[1],
                     results = out[0].shape[2];
  const std::int64_t step = integer_at(in[kStep], 0);
  const std::int64_t n = is_given(in, kFrame)    ? integer_at(in[kFrame], 0)
                         : is_given(in, kWindow) ? in[kWindow].shape[0]
                                                 : samples;
  if (out[0].size() == 0) return;
  Fft fft(at(n));
  std::vector<Complex> x(at(n));
  float* y = out[0].as<float>();
  for (std::int64_t b = 0; b < shape[0]; ++b)
    for (std::int64_t f = 0; f < frames; ++f) {
      const float* from = in[kStftSignal].as<float>() + (b * samples + f * step) * parts;
      for (std::int64_t i = 0; i < n; ++i) {
        const double weight = is_given(in, kWindow) ? in[kWindow].as<float>()[i] : 1.0;
        x[at(i)] = weight * complex_at(from + i * parts, parts);
      }
      fft.forward(x);
      for (std::int64_t k = 0; k < results; ++k) {
        *y++ = static_cast<float>(x[at(k)].real());
        *y++ = static_cast<float>(x[at(k)].imag());
      }
    }
}

// ---- Windows

Outputs infer_window(const Inputs& in) {
  ValueInfo y{.dtype = std::get<WindowFunction>(in.node.op).dtype, .shape = Shape{kDynamic}, .elements = {}};
  if (const auto size = scalar_of(in, 0)) {
    check(*size >= 0, "size is {}", *size);
    y.shape = Shape{*size};
    check_size(*y.shape, "output");
  }
  return {y};
}

/// a0 - a1 cos(t) + a2 cos(2 t), for t from 0 to 2 pi.
struct CosineSum {
  double a0, a1, a2;
};
constexpr CosineSum cosine_sum(WindowKind kind) {
  switch (kind) {
    case WindowKind::hann:
      return {0.5, 0.5, 0};
    case WindowKind::hamming:
      return {25.0 / 46, 21.0 / 46, 0};
    case WindowKind::blackman:
      break;
  }
  return {0.42, 0.5, 0.08};
}

void window_function(const Node& node, std::span<const TensorView>, std::span<const TensorView> out) {
  const auto& op = std::get<WindowFunction>(node.op);
  const CosineSum a = cosine_sum(op.kind);
  const std::int64_t size = out[0].shape[0];
  const auto turn = static_cast<double>(op.periodic ? size : size - 1);
  with_number_type(op.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t i = 0; i < size; ++i) {
      const double t = 2 * std::numbers::pi * static_cast<double>(i) / turn;
      // A symmetric window of one element is its own middle.
      const double w = turn == 0 ? 1 : a.a0 - a.a1 * std::cos(t) + a.a2 * std::cos(2 * t);
      out[0].as<T>()[i] = static_cast<T>(std::is_integral_v<T> ? std::max(w, 0.0) : w);
    }
  });
}

// ---- MelWeightMatrix

enum : std::size_t { kBins, kDftLength, kSampleRate, kLower, kUpper };

Outputs infer_mel(const Inputs& in) {
  ValueInfo y{.dtype = std::get<MelWeightMatrix>(in.node.op).dtype, .shape = Shape{kDynamic, kDynamic}, .elements = {}};
  for (std::size_t slot : {kSampleRate, kLower, kUpper}) check_scalar(in, slot);
  const auto bins = scalar_of(in, kBins), length = scalar_of(in, kDftLength);
  check(!bins || *bins >= 0, "num_mel_bins is {}; it must not be negative", bins.value_or(0));
  check(!length || *length >= 0, "dft_length is {}; it must not be negative", length.value_or(0));
  y.shape = Shape{length ? one_sided(*length) : kDynamic, bins.value_or(kDynamic)};
  check_size(*y.shape, "output");
  return {y};
}

/// Column b is a triangle over the frequencies between the mel points b, b + 1 (its top) and b + 2.
void mel_weights(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  const std::int64_t rows = out[0].shape[0], bins = out[0].shape[1];
  const std::int64_t length = integer_at(in[kDftLength], 0), rate = integer_at(in[kSampleRate], 0);
  const double lower = in[kLower].as<float>()[0], upper = in[kUpper].as<float>()[0];
  check(rate > 0, "{} sample_rate is {}; it must be positive", where(node), rate);
  check(lower >= 0 && upper >= lower && std::isfinite(upper),
        "{} the edges are {} and {} Hz; expected 0 <= lower <= upper", where(node), lower, upper);
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double step = (mel(upper) - mel(lower)) / static_cast<double>(bins + 2);
  const auto point = [&](std::int64_t i) {
    const double hertz = 700 * (std::pow(10, (mel(lower) + step * static_cast<double>(i)) / 2595) - 1);
    const double row = std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate));
    check(row >= 0 && row < static_cast<double>(rows), "{} mel point {} at {} Hz lies outside a spectrum of {} rows",
          where(node), i, hertz, rows);
    return static_cast<std::int64_t>(row);
  };
  with_number_type(out[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    T* y = out[0].as<T>();
    std::fill_n(y, out[0].size(), T{0});
    for (std::int64_t b = 0; b < bins; ++b) {
      const std::int64_t first = point(b), top = point(b + 1), last = point(b + 2);
      const auto ramp = [](std::int64_t part, std::int64_t whole) {
        return static_cast<T>(static_cast<double>(part) / static_cast<double>(whole));
      };
      for (std::int64_t row = first; row < top; ++row) y[row * bins + b] = ramp(row - first, top - first);
      y[top * bins + b] = T{1};
      for (std::int64_t row = top; row < last; ++row) y[row * bins + b] = ramp(last - row, last - top);
    }
  });
}

}  // namespace

std::vector<OperatorInfo> spectrum_operators() {
  const auto parameter = [](std::string_view name, TypeSet types = kIndex, Presence presence = Presence::required,
                            char group = 0) {
    return Slot{name, types, group, presence, Use::parameter};
  };
  const auto window = [&](std::string_view name, WindowKind kind) {
    return OperatorInfo{
        .name = name,
        .since = 17,
        .prototype = WindowFunction{.kind = kind},
        .inputs = {parameter("size")},
        .outputs = {{"output", kNumber}},
        .fields = {field("output_datatype", &WindowFunction::dtype), field("periodic", &WindowFunction::periodic)},
        .infer = infer_window,
        .evaluate = window_function};
  };
  return {
      {.name = "DFT",
       .since = 20,
       .prototype = Dft{},
       .inputs = {{"input", kReal, 'T'},
                  parameter("dft_length", kIndex, Presence::optional),
                  parameter("axis", kInt64, Presence::optional)},
       .outputs = {{"output", kReal, 'T'}},
       .fields = {field("inverse", &Dft::inverse), field("onesided", &Dft::onesided)},
       .infer = infer_dft,
       .evaluate = dft},
      {.name = "STFT",
       .since = 17,
       .prototype = Stft{},
       .inputs = {{"signal", kReal, 'T'},
                  parameter("frame_step"),
                  parameter("window", kReal, Presence::optional, 'T'),
                  parameter("frame_length", kIndex, Presence::optional)},
       .outputs = {{"output", kReal, 'T'}},
       .fields = {field("onesided", &Stft::onesided)},
       .infer = infer_stft,
       .evaluate = stft},
      window("HannWindow", WindowKind::hann),
      window("HammingWindow", WindowKind::hamming),
      window("BlackmanWindow", WindowKind::blackman),
      {.name = "MelWeightMatrix",
       .since = 17,
       .prototype = MelWeightMatrix{},
       .inputs = {parameter("num_mel_bins"), parameter("dft_length"), parameter("sample_rate"),
                  parameter("lower_edge_hertz", kReal), parameter("upper_edge_hertz", kReal)},
       .outputs = {{"output", kNumber}},
       .fields = {field("output_datatype", &MelWeightMatrix::dtype)},
       .infer = infer_mel,
       .evaluate = mel_weights},
  };
}

}  // namespace bitfold::ops
