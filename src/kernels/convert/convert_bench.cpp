// Every conversion on every instruction set of this CPU, beside the bandwidth of a loop that only moves the same bytes.
// Results are compared with the portable kernels before they are timed.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kernels/convert/convert.h"
#include "kernels/machine_limits.h"

namespace bitfold {
namespace {

constexpr ByteGrid kGrid{0.0213F, 104, 0, 255};
constexpr std::int64_t kLarge = std::int64_t{64} << 20;  // elements; larger than the caches

/// Large memory whose pages have already been touched.
template <class T>
class Array {
 public:
  explicit Array(std::int64_t n) : bytes_((static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64) {
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes_)));
    std::memset(data_.get(), 1, bytes_);
  }
  T* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::size_t bytes_;
  std::unique_ptr<T[], Free> data_;
};

/// Arrays of n elements, created once: otherwise most of a benchmark's time would be spent filling them.
template <class T, class Fill>
const Array<T>& array_of(std::int64_t n, std::map<std::int64_t, Array<T>>& made, Fill fill) {
  const auto [it, is_new] = made.try_emplace(n, n);
  if (is_new) fill(it->second.get());
  return it->second;
}

const Array<float>& reals(std::int64_t n) {
  static std::map<std::int64_t, Array<float>> made;
  return array_of(n, made, [n](float* x) {
    constexpr std::int64_t kPeriod = 65536;
    for (std::int64_t i = 0; i < n; ++i) x[i] = i < kPeriod ? 3 * std::sin(static_cast<float>(i)) : x[i - kPeriod];
  });
}

const Array<std::uint8_t>& some_codes(std::int64_t n) {
  static std::map<std::int64_t, Array<std::uint8_t>> made;
  return array_of(n, made, [n](std::uint8_t* codes) {
    for (std::int64_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  });
}

template <class T>
const Array<T>& outputs(std::int64_t n) {
  static std::map<std::int64_t, Array<T>> made;
  return array_of(n, made, [](T*) {});
}

/// The ratio of bytes a kernel reads and writes, and the total number of bytes it reads.
struct Traffic {
  int reads, writes;
  std::int64_t bytes_read;
};

/// Times run(kernels, out) with `out` of `n` elements; the first time for each name, compares the result.
template <class In, class Out, class Run>
void compare_and_time(benchmark::State& state, const ConvertKernels& kernels, std::int64_t n, const Array<In>& in,
                      std::int64_t out_count, const Traffic& traffic, const std::string& name, Run run) {
  const Array<Out>& out = outputs<Out>(out_count);
  run(kernels, in.get(), out.get());
  static std::set<std::string> compared;  // Google Benchmark calls this function several times
  if (compared.insert(name + kernels.name + std::to_string(n)).second) {
    const Array<Out> expected(out_count);
    run(convert_kernels(Isa::portable), in.get(), expected.get());
    if (std::memcmp(out.get(), expected.get(), static_cast<std::size_t>(out_count) * sizeof(Out)) != 0)
      return state.SkipWithError("differs from the portable kernel");
  }
  for (auto _ : state) {
    run(kernels, in.get(), out.get());
    benchmark::ClobberMemory();
  }
  limits::count_bandwidth(state, traffic.reads, traffic.writes, in.get(), out.get(), traffic.bytes_read);
}

void quantize_image(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<float, std::uint8_t>(
      state, kernels, n, reals(n), n, {4, 1, 4 * n}, "quantize",
      [&](const auto& k, const float* x, std::uint8_t* codes) { k.quantize_nchw_to_nhwc(x, codes, layout, kGrid); });
}

void dequantize_image(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<std::uint8_t, float>(
      state, kernels, n, some_codes(n), n, {1, 4, n}, "dequantize",
      [&](const auto& k, const std::uint8_t* codes, float* x) { k.dequantize_nhwc_to_nchw(codes, x, layout, kGrid); });
}

void min_max(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<float, float>(
      state, kernels, n, reals(n), 2, {1, 0, 4 * n}, "min_max",
      [&](const auto& k, const float* x, float* extremes) { k.min_max(x, n, extremes, extremes + 1); });
}

void find_non_finite(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<float, std::int64_t>(
      state, kernels, n, reals(n), 1, {1, 0, 4 * n}, "find_non_finite",
      [&](const auto& k, const float* x, std::int64_t* found) { *found = k.find_non_finite(x, n); });
}

void pack_4bit(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<std::uint8_t, std::uint8_t>(
      state, kernels, n, some_codes(n), n / 2, {2, 1, n}, "pack",
      [&](const auto& k, const std::uint8_t* codes, std::uint8_t* packed) { k.pack_4bit(codes, packed, n); });
}

void unpack_4bit(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<std::uint8_t, std::int8_t>(
      state, kernels, n, some_codes(n / 2), n, {1, 2, n / 2}, "unpack",
      [&](const auto& k, const std::uint8_t* packed, std::int8_t* codes) { k.unpack_s4(packed, codes, n); });
}

/// 64M elements of 4096 channels, in runs of `inner`.
ChannelLayout channels_of(const PixelLayout& layout, std::int64_t inner) {
  constexpr std::int64_t kChannels = 4096;
  return {layout.channels * layout.pixels / kChannels / inner, kChannels, inner};
}

std::vector<ByteGrid> some_grids(const ChannelLayout& layout) {
  std::vector<ByteGrid> grids(static_cast<std::size_t>(layout.channels), kGrid);
  for (std::size_t c = 0; c < grids.size(); ++c) grids[c].scale += static_cast<float>(c) * 1e-6F;
  return grids;
}

template <std::int64_t kInner>
void quantize_channels(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& image) {
  const std::int64_t n = image.channels * image.pixels;
  const ChannelLayout layout = channels_of(image, kInner);
  const auto grids = some_grids(layout);
  compare_and_time<float, std::uint8_t>(state, kernels, n, reals(n), n, {4, 1, 4 * n},
                                        "quantize_channels" + std::to_string(kInner),
                                        [&](const auto& k, const float* x, std::uint8_t* codes) {
                                          k.quantize_channels_u8(x, codes, layout, grids.data());
                                        });
}

template <std::int64_t kInner>
void dequantize_channels(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& image) {
  const std::int64_t n = image.channels * image.pixels;
  const ChannelLayout layout = channels_of(image, kInner);
  const auto grids = some_grids(layout);
  compare_and_time<std::uint8_t, float>(state, kernels, n, some_codes(n), n, {1, 4, n},
                                        "dequantize_channels" + std::to_string(kInner),
                                        [&](const auto& k, const std::uint8_t* codes, float* x) {
                                          k.dequantize_channels_u8(codes, x, layout, grids.data());
                                        });
}

template <std::int64_t kInner>
void min_max_channels(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& image) {
  const std::int64_t n = image.channels * image.pixels;
  const ChannelLayout layout = channels_of(image, kInner);
  compare_and_time<float, float>(state, kernels, n, reals(n), 2 * layout.channels, {1, 0, 4 * n},
                                 "min_max_channels" + std::to_string(kInner),
                                 [&](const auto& k, const float* x, float* extremes) {
                                   k.min_max_channels(x, layout, extremes, extremes + layout.channels);
                                 });
}

void count_bins(benchmark::State& state, const ConvertKernels& kernels, const PixelLayout& layout) {
  const std::int64_t n = layout.channels * layout.pixels;
  compare_and_time<float, std::int64_t>(state, kernels, n, reals(n), kHistogramBins, {1, 0, 4 * n}, "count_bins",
                                        [&](const auto& k, const float* x, std::int64_t* counts) {
                                          std::fill_n(counts, kHistogramBins, 0);
                                          float min = x[0], max = x[0];
                                          k.count_bins(x, n, 0x1p-9F, counts, &min, &max);
                                        });
}

struct Case {
  const char* name;
  PixelLayout layout;
};
// An MNIST image (which needs no transpose), an ImageNet image, an inner layer, and an image larger than the caches.
constexpr Case kImages[] = {
    {"1x28x28", {1, 28 * 28, 1}}, {"3x224x224", {3, 224 * 224, 3}}, {"64x56x56", {64, 56 * 56, 64}}};
constexpr Case kLargeCase{"64M", {1, kLarge, 1}};

using Benchmark = void (*)(benchmark::State&, const ConvertKernels&, const PixelLayout&);

const bool kRegistered = [] {
  constexpr std::pair<const char*, Benchmark> kOfImages[] = {
      {"quantize", quantize_image}, {"dequantize", dequantize_image}, {"min_max", min_max}};
  constexpr std::pair<const char*, Benchmark> kOfOthers[] = {{"find_non_finite", find_non_finite},
                                                             {"count_bins", count_bins},
                                                             {"pack_4bit", pack_4bit},
                                                             {"unpack_4bit", unpack_4bit},
                                                             {"quantize_channels last", quantize_channels<1>},
                                                             {"quantize_channels 4096", quantize_channels<4096>},
                                                             {"dequantize_channels last", dequantize_channels<1>},
                                                             {"dequantize_channels 4096", dequantize_channels<4096>},
                                                             {"min_max_channels last", min_max_channels<1>},
                                                             {"min_max_channels 4096", min_max_channels<4096>}};
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni}) {
    if (isa > detected_isa()) continue;
    const auto add = [&](const char* name, Benchmark run, const Case& c) {
      const auto full = "convert/" + std::string(to_string(isa)) + "/" + name + " " + c.name;
      benchmark::RegisterBenchmark(full.c_str(), run, convert_kernels(isa), c.layout);
    };
    for (const auto& [name, run] : kOfImages) {
      for (const Case& c : kImages) add(name, run, c);
      add(name, run, kLargeCase);
    }
    for (const auto& [name, run] : kOfOthers) add(name, run, kLargeCase);
  }
  return true;
}();

}  // namespace
}  // namespace bitfold
