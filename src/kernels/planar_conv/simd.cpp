// The planar convolution with Google Highway, compiled once per instruction set, and the selection among them.
#ifdef BITFOLD_PORTABLE
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/planar_conv/simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "kernels/planar_conv/planar_conv.h"
#include "kernels/select_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace bitfold {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kFloats;
using FloatVector = hn::Vec<decltype(kFloats)>;

// Two vectors per channel, two vectors of pixels and a weight must fit the registers: 32 with AVX-512, 16 with AVX2.
#if HWY_TARGET <= HWY_AVX3
constexpr int kMaxChannels = 12;
constexpr const char* kName = "planar.avx512";
#elif HWY_TARGET == HWY_AVX2
constexpr int kMaxChannels = 6;
constexpr const char* kName = "planar.avx2";
#else
constexpr int kMaxChannels = 4;
constexpr const char* kName = "planar.portable";
#endif

/// The window of the first pixel of an output row, and the row's destination.
struct Row {
  const PlanarConv* conv;
  const float *x, *weights, *bias;
  float* y;
};

/// Vectors of pixels at columns `at[0]` .. `at[kVectors - 1]` times the kChannels channels of one tile.
template <int kChannels, int kVectors>
HWY_INLINE void run_tile(const Row& row, const std::int64_t (&at)[kVectors]) {
  const PlanarConv& c = *row.conv;
  FloatVector sums[kChannels][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kChannels; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Set(kFloats, row.bias[r]);
  const float* weights = row.weights;
  for (std::int64_t k = 0; k < c.in_channels; ++k)
    for (std::int64_t i = 0; i < c.kernel_h; ++i) {
      const float* x = row.x + k * c.x_plane + i * c.dilation_h * c.x_row;
      for (std::int64_t j = 0; j < c.kernel_w; ++j, x += c.dilation_w, weights += kChannels) {
        FloatVector pixels[kVectors];
        for (int v = 0; v < kVectors; ++v) pixels[v] = hn::LoadU(kFloats, x + at[v]);
#pragma GCC unroll 16
        for (int r = 0; r < kChannels; ++r) {
          const auto weight = hn::Set(kFloats, weights[r]);
          for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(pixels[v], weight, sums[r][v]);
        }
      }
    }
  const auto low = hn::Set(kFloats, c.is_leaky ? 0 : c.low), high = hn::Set(kFloats, c.high);
  const auto slope = hn::Set(kFloats, c.negative_slope);
  const std::int64_t plane = c.out_height * c.out_width;
#pragma GCC unroll 16
  for (int r = 0; r < kChannels; ++r)
    for (int v = 0; v < kVectors; ++v) {
      const auto sum = sums[r][v];
      // Compares instead of taking the maximum, so that NaN stays NaN on every target.
      const auto negative = c.is_leaky ? hn::Mul(sum, slope) : low;
      const auto limited = hn::IfThenElse(hn::Lt(sum, low), negative, sum);
      const auto y = hn::IfThenElse(hn::Gt(limited, high), high, limited);
      hn::StoreU(y, kFloats, row.y + r * plane + at[v]);
    }
}

template <int kChannels>
void run_row(const Row& row) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(kFloats));
  const std::int64_t width = row.conv->out_width;
  std::int64_t w = 0;
  for (; w + lanes < width; w += 2 * lanes) run_tile<kChannels, 2>(row, {w, HWY_MIN(w + lanes, width - lanes)});
  if (w < width) run_tile<kChannels, 1>(row, {HWY_MIN(w, width - lanes)});
}

using RunRow = void (*)(const Row&);
template <class Sequence>
struct RowsOf;
template <int... kIndex>
struct RowsOf<std::integer_sequence<int, kIndex...>> {
  static constexpr RunRow by_channels[] = {run_row<kIndex + 1>...};  // indexed by channels - 1
};

void run(const PlanarConv& c, const float* x, const float* weights, const float* bias, float* y, std::int64_t begin,
         std::int64_t end) noexcept {
  constexpr const RunRow* kRows = RowsOf<std::make_integer_sequence<int, kMaxChannels>>::by_channels;
  const std::int64_t tiles = planar_tile_count(c.out_channels, kMaxChannels);
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t first = planar_tile_begin(c.out_channels, tiles, t);
      const std::int64_t channels = planar_tile_begin(c.out_channels, tiles, t + 1) - first;
      kRows[channels - 1]({&c, x + row * c.stride_h * c.x_row, weights + first * c.depth(), bias + first,
                           y + (first * c.out_height + row) * c.out_width});
    }
}

const PlanarConvKernel* planar_of_target() {
  static const PlanarConvKernel kernel{kName, static_cast<std::int64_t>(hn::Lanes(kFloats)), kMaxChannels, run};
  return &kernel;
}

}  // namespace HWY_NAMESPACE
}  // namespace bitfold
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitfold {

const PlanarConvKernel& planar_conv_kernel(Isa cap) {
  return select_kernels<PlanarConvKernel>(cap, HWY_CHOOSE_AVX3(planar_of_target), HWY_CHOOSE_AVX2(planar_of_target),
                                          *HWY_STATIC_DISPATCH(planar_of_target)());
}

void pack_planar_weights(const PlanarConv& conv, const PlanarConvKernel& kernel, const float* weights, float* packed) {
  const std::int64_t tiles = planar_tile_count(conv.out_channels, kernel.max_channels), depth = conv.depth();
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t first = planar_tile_begin(conv.out_channels, tiles, t);
    const std::int64_t last = planar_tile_begin(conv.out_channels, tiles, t + 1);
    for (std::int64_t k = 0; k < depth; ++k)
      for (std::int64_t c = first; c < last; ++c) *packed++ = weights[c * depth + k];
  }
}

}  // namespace bitfold
#endif
