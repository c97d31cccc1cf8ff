// The float convolution with NCHW input and output on every instruction set, beside the peak of fused multiply-adds.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/machine_limits.h"
#include "kernels/planar_conv/planar_conv.h"

namespace bitfold {
namespace {

std::vector<float> some_reals(std::int64_t n) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 31 % 97) / 97 - 0.5F;
  return x;
}

void convolve(benchmark::State& state, PlanarConv conv, Isa isa) {
  const PlanarConvKernel& kernel = planar_conv_kernel(isa);
  conv.x_row = conv.out_width + conv.kernel_w - 1;
  conv.x_plane = conv.x_row * (conv.out_height + conv.kernel_h - 1);
  conv.high = std::numeric_limits<float>::infinity();  // a Relu
  const auto x = some_reals(conv.in_channels * conv.x_plane), bias = some_reals(conv.out_channels),
             weights = some_reals(conv.out_channels * conv.depth());
  std::vector<float> packed(weights.size());
  pack_planar_weights(conv, kernel, weights.data(), packed.data());
  std::vector<float> y(static_cast<std::size_t>(conv.out_channels * conv.out_height * conv.out_width));
  const double before = limits::float_peak(isa);
  for (auto _ : state) {
    kernel.run(conv, x.data(), packed.data(), bias.data(), y.data(), 0, conv.out_height);
    benchmark::ClobberMemory();
  }
  const auto done =
      static_cast<double>(conv.depth()) * static_cast<double>(y.size()) * static_cast<double>(state.iterations());
  state.counters["TOPS"] = benchmark::Counter(2 * done / 1e12, benchmark::Counter::kIsRate);
  if (before > 0)
    state.counters["of_peak"] =
        benchmark::Counter(done / std::max(before, limits::float_peak(isa)), benchmark::Counter::kIsRate);
}

const bool kRegistered = [] {
  const PlanarConv notebook{
      .in_channels = 3, .out_channels = 20, .kernel_h = 5, .kernel_w = 5, .out_height = 28, .out_width = 28};
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni})
    if (isa <= detected_isa())
      benchmark::RegisterBenchmark(("planar_conv/" + std::string(to_string(isa)) + "/5x5 3-20 28x28").c_str(), convolve,
                                   notebook, isa);
  return true;
}();

}  // namespace
}  // namespace bitfold
