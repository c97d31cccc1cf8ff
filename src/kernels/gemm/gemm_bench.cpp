// Integer convolutions of real networks on every instruction set: useful operations per second (two per multiply-add),
// and their share of the CPU's peak. With AVX2 the share may exceed 1, because some forms need fewer products. Every
// result is compared with the portable kernel before it is timed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/integer_conv.h"
#include "kernels/machine_limits.h"

namespace bitfold {
namespace {

struct Layer {
  const char* name;
  std::int64_t in_channels, out_channels, kernel, size, stride;
  std::int64_t groups = 1;
};

constexpr Layer kLayers[] = {
    {"resnet20 first 3x3 3-16 32x32", 3, 16, 3, 32, 1},
    {"resnet20 3x3 16-16 32x32", 16, 16, 3, 32, 1},
    {"resnet20 3x3 16-32/2 32x32", 16, 32, 3, 32, 2},
    {"resnet20 3x3 32-32 16x16", 32, 32, 3, 16, 1},
    {"resnet20 3x3 64-64 8x8", 64, 64, 3, 8, 1},
    {"darknet first 3x3 3-16 224x224", 3, 16, 3, 224, 1},
    {"darknet 3x3 16-32 112x112", 16, 32, 3, 112, 1},
    {"darknet 1x1 32-16 56x56", 32, 16, 1, 56, 1},
    {"darknet 3x3 16-128 56x56", 16, 128, 3, 56, 1},
    {"darknet 1x1 128-16 56x56", 128, 16, 1, 56, 1},
    {"darknet 3x3 32-256 28x28", 32, 256, 3, 28, 1},
    {"darknet 1x1 256-32 28x28", 256, 32, 1, 28, 1},
    {"darknet 3x3 64-512 14x14", 64, 512, 3, 14, 1},
    {"darknet 1x1 512-128 14x14", 512, 128, 1, 14, 1},
    {"darknet 1x1 128-1000 14x14", 128, 1000, 1, 14, 1},
    {"resnet50 7x7 3-64/2 224x224", 3, 64, 7, 224, 2},
    {"resnet50 1x1 64-64 56x56", 64, 64, 1, 56, 1},
    {"resnet50 3x3 64-64 56x56", 64, 64, 3, 56, 1},
    {"resnet50 1x1 64-256 56x56", 64, 256, 1, 56, 1},
    {"resnet50 1x1 256-64 56x56", 256, 64, 1, 56, 1},
    {"resnet50 1x1 256-128 56x56", 256, 128, 1, 56, 1},
    {"resnet50 3x3 128-128/2 56x56", 128, 128, 3, 56, 2},
    {"resnet50 1x1 256-512/2 56x56", 256, 512, 1, 56, 2},
    {"resnet50 3x3 128-128 28x28", 128, 128, 3, 28, 1},
    {"resnet50 1x1 128-512 28x28", 128, 512, 1, 28, 1},
    {"resnet50 1x1 512-128 28x28", 512, 128, 1, 28, 1},
    {"resnet50 1x1 512-256 28x28", 512, 256, 1, 28, 1},
    {"resnet50 3x3 256-256/2 28x28", 256, 256, 3, 28, 2},
    {"resnet50 3x3 256-256 14x14", 256, 256, 3, 14, 1},
    {"resnet50 1x1 256-1024 14x14", 256, 1024, 1, 14, 1},
    {"resnet50 1x1 1024-256 14x14", 1024, 256, 1, 14, 1},
    {"resnet50 1x1 1024-512 14x14", 1024, 512, 1, 14, 1},
    {"resnet50 3x3 512-512/2 14x14", 512, 512, 3, 14, 2},
    {"resnet50 3x3 512-512 7x7", 512, 512, 3, 7, 1},
    {"resnet50 1x1 512-2048 7x7", 512, 2048, 1, 7, 1},
    {"resnet50 1x1 2048-512 7x7", 2048, 512, 1, 7, 1},
    {"matrix 1x2048-1000", 2048, 1000, 1, 1, 1},
    {"vww depthwise 3x3 16 48x48/2", 16, 16, 3, 48, 2, 16},
    {"vww depthwise 3x3 64 12x12", 64, 64, 3, 12, 1, 64},
    {"vww depthwise 3x3 128 6x6", 128, 128, 3, 6, 1, 128},
    {"ultraface depthwise 3x3 32 60x80", 32, 32, 3, 70, 1, 32},
};

struct Problem {
  std::shared_ptr<const PackedFilter> direct, best;
  ConvImages images;
  ConvOutput output;
  AlignedArray<std::uint8_t> x, y;  // aligned as in a session's memory
  std::int64_t multiply_adds, y_count;
};

Problem make_problem(const Layer& l, Isa isa) {
  const ConvFilter filter{l.out_channels, l.in_channels, l.groups, l.kernel, l.kernel};
  const std::int64_t in = l.size + (l.kernel == 1 ? 0 : l.kernel - 1), out = (in - l.kernel) / l.stride + 1;
  const std::int64_t x_row = in * l.in_channels, y_row = out * l.out_channels;
  Problem p;
  p.images = {1, out, out, l.stride, l.stride, {in * x_row, x_row, l.in_channels}, {out * y_row, y_row, l.out_channels},
              {}};
  std::vector<std::int8_t> w(static_cast<std::size_t>(l.out_channels * filter.depth()));
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
  const std::vector<float> multipliers(static_cast<std::size_t>(l.out_channels), 1e-4F);
  p.direct = std::make_shared<const PackedFilter>(filter, w.data(), nullptr, multipliers.data());
  p.best = std::make_shared<const PackedFilter>(filter, w.data(), nullptr, multipliers.data(),
                                                best_filter_form(filter, w.data(), p.images, isa));
  p.output.zero_point = 128;
  const std::int64_t x_count = in * x_row + kOverread;
  p.x = zeroed_array<std::uint8_t>(x_count);
  for (std::int64_t i = 0; i < x_count; ++i) p.x[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i * 31);
  p.y_count = out * y_row;
  p.y = zeroed_array<std::uint8_t>(p.y_count);
  p.multiply_adds = out * out * l.out_channels * filter.depth();
  return p;
}

void convolve(benchmark::State& state, const Layer& layer, Isa isa) {
  Problem p = make_problem(layer, isa);
  const IntegerConv conv(p.best, p.images, p.output, isa);
  std::vector<std::byte> memory(conv.scratch_bytes() + 64);
  std::byte* scratch = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) % 64;
  conv.run(p.x.get(), p.y.get(), nullptr, 0, conv.unit_count(), scratch);
  static std::set<std::string> compared;  // Google Benchmark calls this several times
  if (compared.insert(std::string(to_string(isa)) + layer.name).second) {
    const std::vector<std::uint8_t> y(p.y.get(), p.y.get() + p.y_count);
    IntegerConv(p.direct, p.images, p.output, Isa::portable)
        .run(p.x.get(), p.y.get(), nullptr, 0, p.images.out_height, nullptr);
    if (!std::equal(y.begin(), y.end(), p.y.get())) return state.SkipWithError("differs from the portable kernel");
  }
  const double before = limits::integer_peak(isa);
  for (auto _ : state) {
    conv.run(p.x.get(), p.y.get(), nullptr, 0, conv.unit_count(), scratch);
    benchmark::ClobberMemory();
  }
  const auto done = static_cast<double>(p.multiply_adds) * static_cast<double>(state.iterations());
  state.counters["TOPS"] = benchmark::Counter(2 * done / 1e12, benchmark::Counter::kIsRate);
  if (before > 0)
    state.counters["of_peak"] =
        benchmark::Counter(done / std::max(before, limits::integer_peak(isa)), benchmark::Counter::kIsRate);
  state.SetLabel(conv.kernel_name());
}

const bool kRegistered = [] {
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx})
    for (const Layer& layer : kLayers)
      if (isa <= detected_isa())
        benchmark::RegisterBenchmark(("conv/" + std::string(to_string(isa)) + "/" + layer.name).c_str(), convolve,
                                     layer, isa);
  return true;
}();

}  // namespace
}  // namespace bitfold
