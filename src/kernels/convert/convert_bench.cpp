// Every conversion on every instruction set this CPU has; compares with the portable kernels before it times.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/convert/convert.h"

namespace bitfold {
namespace {

constexpr ByteGrid kGrid{0.0213F, 104, 0, 255};

struct Case {
  const char* name;
  PixelLayout layout;
};
// An MNIST image, an ImageNet one, and a middle layer; all but the first go through the transposes.
constexpr Case kCases[] = {
    {"1x28x28", {1, 28 * 28, 1}}, {"3x224x224", {3, 224 * 224, 3}}, {"64x56x56", {64, 56 * 56, 64}}};

std::vector<float> reals(std::int64_t n) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 3 * std::sin(static_cast<float>(i));
  return x;
}

void set_rate(benchmark::State& state, std::int64_t elements) {
  state.SetItemsProcessed(state.iterations() * elements);
}

void quantize_image(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  const auto x = reals(n);
  std::vector<std::uint8_t> codes(x.size()), expected(x.size());
  convert_kernels(Isa::portable).quantize_nchw_to_nhwc(x.data(), expected.data(), layout, kGrid);
  kernels.quantize_nchw_to_nhwc(x.data(), codes.data(), layout, kGrid);
  if (codes != expected) return state.SkipWithError("differs from the portable kernel");
  for (auto _ : state) {
    kernels.quantize_nchw_to_nhwc(x.data(), codes.data(), layout, kGrid);
    benchmark::ClobberMemory();
  }
  set_rate(state, n);
}

void dequantize_image(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 7);
  std::vector<float> x(codes.size()), expected(codes.size());
  convert_kernels(Isa::portable).dequantize_nhwc_to_nchw(codes.data(), expected.data(), layout, kGrid);
  kernels.dequantize_nhwc_to_nchw(codes.data(), x.data(), layout, kGrid);
  if (x != expected) return state.SkipWithError("differs from the portable kernel");
  for (auto _ : state) {
    kernels.dequantize_nhwc_to_nchw(codes.data(), x.data(), layout, kGrid);
    benchmark::ClobberMemory();
  }
  set_rate(state, n);
}

void min_max(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  const auto x = reals(n);
  float min = 0, max = 0, expected_min = 0, expected_max = 0;
  convert_kernels(Isa::portable).min_max(x.data(), n, &expected_min, &expected_max);
  kernels.min_max(x.data(), n, &min, &max);
  if (min != expected_min || max != expected_max) return state.SkipWithError("differs from the portable kernel");
  for (auto _ : state) {
    kernels.min_max(x.data(), n, &min, &max);
    benchmark::DoNotOptimize(min);
  }
  set_rate(state, n);
}

using Benchmark = void (*)(benchmark::State&, const ConvertKernels&, const PixelLayout&);

const bool kRegistered = [] {
  constexpr std::pair<const char*, Benchmark> kBenchmarks[] = {
      {"quantize_nchw_to_nhwc", quantize_image}, {"dequantize_nhwc_to_nchw", dequantize_image}, {"min_max", min_max}};
  for (const auto& [name, run] : kBenchmarks)
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni}) {
      if (isa > detected_isa()) continue;
      for (const Case& c : kCases) {
        const ConvertKernels& kernels = convert_kernels(isa);
        benchmark::RegisterBenchmark((std::string(name) + "/" + kernels.name + "/" + c.name).c_str(), run, kernels,
                                     c.layout);
      }
    }
  return true;
}();

}  // namespace
}  // namespace bitfold
