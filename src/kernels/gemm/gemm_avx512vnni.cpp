// The matrix product with AVX-512 VNNI: vpdpbusd adds 4 products to each of 16 accumulators.
//
// A step multiplies one group of 4 bytes: nr / 16 loads of weights, mr broadcasts of activations and mr * nr / 16
// multiplications, all in the CPU's 32 registers. Zen 4 starts one 512-bit multiplication and one 512-bit load per
// cycle, server Intels two of each, so the tiles are as square as registers allow:
//
//   14 x 32   28 accumulators + 2 weights + 1 broadcast; 16 loads for 28 multiplications
//   28 x 16   for the last 16 channels; 29 loads for 28 multiplications: bound by loads
//    6 x 64   for few pixels: 10 loads for 24 multiplications, and weights that stream in adjacent lines
//
// Pixels are divided evenly among the tiles of a call: 16 pixels become 8 + 8, not 14 + 2.
#include "kernels/gemm/gemm.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include <cstring>

#include "kernels/avx512.h"

namespace bitfold {
namespace {

BITFOLD_INLINE __m512i broadcast_group(const std::uint8_t* x) {
  std::int32_t group;
  std::memcpy(&group, x, sizeof group);
  return _mm512_set1_epi32(group);
}

template <int kRows, int kBlocks>
BITFOLD_INLINE void multiply(Accumulators<kRows, kBlocks>& tile, const GemmTask& t, const std::uint8_t* x) {
  // Blocks past the last channel repeat the last block; their sums are not stored.
  std::int64_t blocks[kBlocks];
  unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
    blocks[b] = block_start(b, t.channel_count) / kBlockChannels * t.block_weights;
  });
  // Pixel p is at quads[p / 4] + p % 4 * stride, so that few address registers serve many pixels.
  constexpr int kQuads = (kRows + 3) / 4;
  const std::int64_t stride = t.pixel_stride, stride3 = 3 * stride;
  const std::int8_t* w = t.weights;
  for (std::int64_t r = 0; r < t.run_count; ++r) {
    const std::uint8_t* quads[kQuads];
    quads[0] = x + t.run_offsets[r];
    unroll<kQuads - 1>([&](auto q) BITFOLD_INLINE_LAMBDA { quads[q + 1] = quads[q] + 4 * stride; });
    for (std::int64_t g = 0; g < t.group_count; ++g) {
      __m512i weights[kBlocks];
      unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA { weights[b] = _mm512_loadu_si512(w + blocks[b]); });
      unroll<kRows>([&](auto p) BITFOLD_INLINE_LAMBDA {
        constexpr int kOf = decltype(p)::value % 4;
        const std::int64_t away = kOf == 3 ? stride3 : kOf * stride;
        const __m512i group = broadcast_group(quads[p / 4] + away);
        unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
          tile.sums[p][b] = _mm512_dpbusd_epi32(tile.sums[p][b], group, weights[b]);
        });
      });
      w += kGroupWeights;
      unroll<kQuads>([&](auto q) BITFOLD_INLINE_LAMBDA {
        quads[q] += kGroupBytes;
        asm("" : "+r"(quads[q]));  // prevents the compiler from keeping a pointer per pixel
      });
    }
  }
}

template <int kRows, int kBlocks>
void run_tile(const GemmTask& t, std::int64_t pixel) noexcept {
  Accumulators<kRows, kBlocks> tile;
  tile.set(t.bias, t.terms, t.channel_count);
  multiply(tile, t, t.x + pixel * t.pixel_stride);
  tile.store({t.output, t.multipliers, t.terms, t.y, pixel * t.y_stride, t.y_stride, t.channel_count, t.steps_fit});
}

using RunTile = void (*)(const GemmTask&, std::int64_t) noexcept;

template <int kBlocks, class Sequence>
struct TilesOf;
template <int kBlocks, int... kRow>
struct TilesOf<kBlocks, std::integer_sequence<int, kRow...>> {
  static constexpr RunTile by_rows[] = {run_tile<kRow + 1, kBlocks>...};  // indexed by rows - 1
};

template <int kRows, int kBlocks>
void run(const GemmTask& t) noexcept {
  constexpr const RunTile* kTiles = TilesOf<kBlocks, std::make_integer_sequence<int, kRows>>::by_rows;
  const std::int64_t tiles = (t.pixel_count + kRows - 1) / kRows;
  for (std::int64_t i = 0, pixel = 0; i < tiles; ++i) {
    const std::int64_t rows = (t.pixel_count - pixel) / (tiles - i);
    kTiles[rows - 1](t, pixel);
    pixel += rows;
  }
}

constexpr GemmKernel kKernels[] = {
    {"avx512vnni 14x32", Isa::avx512vnni, 14, 32, run<14, 2>},
    {"avx512vnni 28x16", Isa::avx512vnni, 28, 16, run<28, 1>},
    {"avx512vnni 6x64", Isa::avx512vnni, 6, 64, run<6, 4>},
};

}  // namespace

const GemmTable kAvx512VnniGemm{kKernels, 3};

}  // namespace bitfold

#else

namespace bitfold {
const GemmTable kAvx512VnniGemm{nullptr, 0};
}

#endif
