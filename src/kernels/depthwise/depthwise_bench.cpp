// The depthwise layers of MobileNetV2, with borders supplied by the kernel as in the engine, beside oneDNN's.
//
// Counters of the best instruction set that isa_cap() allows, measured alternately on the same memory:
//
//   us, onednn_us   the least time of our kernel and of oneDNN's, which computes the same: channels last, its own order
//                   of weights, scales per channel, a Relu by bounding codes at 0, no zero points
//   ratio           oneDNN's time divided by ours
//   ratio_points    the same with zero points of input and output, where oneDNN needs a separate step for the Relu
//
// They are counters, not benchmarks, so that a slower oneDNN does not count as a regression. BITFOLD_ISA caps both.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <dnnl.hpp>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/memory.h"
#include "kernels/integer_conv.h"
#include "kernels/machine_limits.h"

namespace bitfold {
namespace {

struct Layer {
  std::int64_t channels, size, stride;

  std::int64_t out_size() const { return (size - 1) / stride + 1; }
  std::int64_t x_bytes() const { return size * size * channels; }
  std::int64_t y_bytes() const { return out_size() * out_size() * channels; }
  std::string text() const {
    const std::string image = std::to_string(size);
    return "mobilenetv2 3x3 " + std::to_string(channels) + (stride == 1 ? "" : "/" + std::to_string(stride)) + " " +
           image + "x" + image;
  }
};

constexpr Layer kLayers[] = {{32, 112, 1}, {96, 112, 2}, {144, 56, 1}, {144, 56, 2}, {192, 28, 1},
                             {192, 28, 2}, {384, 14, 1}, {576, 14, 1}, {576, 14, 2}, {960, 7, 1}};

/// Zero points of codes: real = scale * (code - zero point).
struct ZeroPoints {
  std::uint8_t x = 0, y = 0;
};

struct Problem {
  Layer layer;
  ZeroPoints zero;
  std::vector<std::int8_t> weights;  // [channel][3][3]
  std::vector<std::int32_t> bias;
  std::vector<float> multipliers;
  std::shared_ptr<std::byte> x, y;

  std::uint8_t* codes(const std::shared_ptr<std::byte>& memory) const {
    return reinterpret_cast<std::uint8_t*>(memory.get());
  }
};

Problem make_problem(const Layer& layer, ZeroPoints zero) {
  const auto channels = static_cast<std::size_t>(layer.channels);
  Problem p{layer,
            zero,
            std::vector<std::int8_t>(channels * 9),
            std::vector<std::int32_t>(channels),
            std::vector<float>(channels),
            allocate_zeroed(static_cast<std::size_t>(layer.x_bytes() + kOverread)),
            allocate_zeroed(static_cast<std::size_t>(layer.y_bytes()))};
  for (std::size_t i = 0; i < p.weights.size(); ++i) p.weights[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
  for (std::size_t c = 0; c < channels; ++c) {
    p.bias[c] = static_cast<std::int32_t>(c * 577 % 8001) - 4000;
    p.multipliers[c] = 0.002F * (1 + 0.1F * static_cast<float>(c % 7));
  }
  for (std::int64_t i = 0; i < layer.x_bytes(); ++i) p.codes(p.x)[i] = static_cast<std::uint8_t>(i * 31 % 253);
  return p;
}

IntegerConv ours(const Problem& p, Isa isa) {
  const Layer& l = p.layer;
  std::vector<std::int32_t> bias = p.bias;
  for (std::size_t i = 0; i < p.weights.size(); ++i) bias[i / 9] -= p.zero.x * p.weights[i];
  ConvImages images{.out_height = l.out_size(), .out_width = l.out_size(), .stride_h = l.stride, .stride_w = l.stride};
  images.x = {l.x_bytes(), l.size * l.channels, l.channels};
  images.y = {l.y_bytes(), l.out_size() * l.channels, l.channels};
  images.padding = p.zero.x;
  images.unpadded = {l.size, l.size, 1, 1};
  ConvOutput output;
  output.zero_point = output.qmin = p.zero.y;
  const ConvFilter filter{l.channels, l.channels, l.channels, 3, 3};
  return {std::make_shared<const PackedFilter>(filter, p.weights.data(), bias.data(), p.multipliers.data()), images,
          output, isa};
}

void run(const IntegerConv& conv, const Problem& p) {
  conv.run(p.codes(p.x), p.codes(p.y), nullptr, 0, conv.unit_count(), nullptr);  // depthwise needs no scratch memory
}

/// oneDNN's primitive for the same layer, created once; its arguments refer to p's memory.
class OneDnn {
 public:
  explicit OneDnn(const Problem& p) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using dnnl::memory;
    using Type = memory::data_type;
    using Tag = memory::format_tag;
    const Layer& l = p.layer;
    const memory::desc x({1, l.channels, l.size, l.size}, Type::u8, Tag::nhwc);
    const memory::desc y({1, l.channels, l.out_size(), l.out_size()}, Type::u8, Tag::nhwc);
    const memory::desc any_weights({l.channels, 1, 1, 3, 3}, Type::s8, Tag::any);
    const memory::desc plain_weights({l.channels, 1, 1, 3, 3}, Type::s8, Tag::goihw);
    const memory::desc bias({l.channels}, Type::s32, Tag::x);
    dnnl::primitive_attr attr;
    attr.set_output_scales(1 << 1, p.multipliers);
    if (p.zero.x != 0) attr.set_zero_points(DNNL_ARG_SRC, 0, {p.zero.x});
    if (p.zero.y != 0) {
      attr.set_zero_points(DNNL_ARG_DST, 0, {p.zero.y});
      dnnl::post_ops relu;  // bounds codes at 0, not at their zero point
      relu.append_eltwise(1, dnnl::algorithm::eltwise_relu, 0, 0);
      attr.set_post_ops(relu);
    }
    // The same padding on both sides would add an unused row if strides do not reach it.
    const std::int64_t after = (l.out_size() - 1) * l.stride + 3 - l.size - 1;
    const dnnl::convolution_forward::desc what(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
                                               x, any_weights, bias, y, {l.stride, l.stride}, {1, 1}, {after, after});
    const dnnl::convolution_forward::primitive_desc how(what, attr, engine_);
    name_ = how.impl_info_str();
    primitive_ = dnnl::convolution_forward(how);
    memory weights(how.weights_desc(), engine_);
    memory from(plain_weights, engine_, const_cast<std::int8_t*>(p.weights.data()));
    dnnl::reorder(from, weights).execute(stream_, from, weights);
    memory biases(bias, engine_);
    std::copy(p.bias.begin(), p.bias.end(), static_cast<std::int32_t*>(biases.get_data_handle()));
    arguments_ = {{DNNL_ARG_SRC, memory(x, engine_, p.x.get())},
                  {DNNL_ARG_DST, memory(y, engine_, p.y.get())},
                  {DNNL_ARG_WEIGHTS, weights},
                  {DNNL_ARG_BIAS, biases}};
  }

  void run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }
  const std::string& name() const { return name_; }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
  std::string name_;
};

struct Comparison {
  double seconds = std::numeric_limits<double>::infinity(), other_seconds = seconds;
  int largest_difference = 0;  // largest difference between codes
  std::string other_name;

  double ratio() const { return other_seconds / seconds; }
};

/// Other work on the machine only adds time, so the least of many short alternating rounds is taken.
Comparison compare(const Layer& layer, ZeroPoints zero, Isa isa) {
  constexpr int kRounds = 400;
  constexpr double kRoundSeconds = 100e-6;
  const Problem p = make_problem(layer, zero);
  const IntegerConv conv = ours(p, isa);
  OneDnn other(p);
  Comparison result;
  result.other_name = other.name();
  run(conv, p);
  const std::vector<std::uint8_t> y(p.codes(p.y), p.codes(p.y) + layer.y_bytes());
  other.run();
  for (std::size_t i = 0; i < y.size(); ++i)
    result.largest_difference = std::max(result.largest_difference, std::abs(y[i] - p.codes(p.y)[i]));
  const auto time = [](double& least, auto&& once) {
    const int count = least < kRoundSeconds ? static_cast<int>(kRoundSeconds / least) : 1;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) once();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    least = std::min(least, taken.count() / count);
  };
  for (int round = 0; round < kRounds; ++round) {
    time(result.seconds, [&] { run(conv, p); });
    time(result.other_seconds, [&] { other.run(); });
  }
  return result;
}

Isa best_depthwise_isa() { return std::min(isa_cap(), Isa::avx512vnni); }  // there is no AMX version

/// Must be called before any other function of oneDNN.
void limit_onednn() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (best_depthwise_isa() == Isa::avx2) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
  });
  omp_set_num_threads(1);
}

void convolve(benchmark::State& state, const Layer& layer, Isa isa) {
  const Problem p = make_problem(layer, {});
  const IntegerConv conv = ours(p, isa);
  for (auto _ : state) {
    run(conv, p);
    benchmark::ClobberMemory();
  }
  state.SetLabel(conv.kernel_name());
  if (limits::is_plain() || isa == Isa::portable || isa != best_depthwise_isa()) return;
  limit_onednn();
  const Comparison plain = compare(layer, {}, isa), points = compare(layer, {.x = 3, .y = 5}, isa);
  // Both round to nearest even, but the values before rounding may differ in the last bit.
  if (std::max(plain.largest_difference, points.largest_difference) > 1)
    return state.SkipWithError("differs from oneDNN");
  state.counters["us"] = 1e6 * plain.seconds;
  state.counters["onednn_us"] = 1e6 * plain.other_seconds;
  state.counters["ratio"] = plain.ratio();
  state.counters["ratio_points"] = points.ratio();
  state.SetLabel(conv.kernel_name() + " beside " + plain.other_name);
}

const bool kRegistered = [] {
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni})
    for (const Layer& layer : kLayers)
      if (isa <= detected_isa())
        benchmark::RegisterBenchmark(("depthwise/" + std::string(to_string(isa)) + "/" + layer.text()).c_str(),
                                     convolve, layer, isa)
            ->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace bitfold
