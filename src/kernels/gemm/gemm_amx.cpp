// The matrix product with AMX. TDPBUSD multiplies 16 pixels by 16 channels, up to 64 bytes deep, in 16 cycles.
//
// A tile is up to 16 rows of up to 64 bytes. Both operands already lie in memory as such tiles, so nothing is copied:
//
//        A: pixels                            B: a block of packed weights           C: accumulators, int32
//
//         x                 [ 64 bytes ]      w         group 0  [16 x (k0 .. k3)]   pixel 0   [16 channels]
//         x +   pixel_stride[ 64 bytes ]      w +  64   group 1  [16 x (k4 .. k7)]   pixel 1   [16 channels]
//         ...                                 ...                                    ...
//         x +15 pixel_stride[ 64 bytes ]      w + 960   group 15 [16 x (k60..k63)]   pixel 15  [16 channels]
//
// All tiles of a call have the same shape, because changing it costs 200 cycles: a run is cut into chunks with equal
// numbers of groups. Rows of pixels are likewise covered by tiles with equal numbers of pixels; the last tile overlaps
// the one before and computes some pixels twice. If the rows of an image are short, a tile covers several of them and
// the pixels of padding in between:
//
//        [ 7 pixels of a row | 2 pixels of padding | 7 pixels of the next row ]     sums of padding are not stored
//
// A step multiplies two tiles of pixels by two blocks: 4 accumulators, 4 loads for 4 products. Products with the same
// block follow each other, because a product with new weights takes 16 cycles and one with the same weights takes a
// cycle per pixel. If four tiles are all the pixels, a step multiplies them by one block: the weights, which may be far
// away and are used once, are then read in the order they are stored.
//
// Weights bypass the first-level cache (tileloaddt1) if it cannot keep them until the next pixels. Otherwise they would
// evict the pixels that are needed for the next weights, and loading a line from the second level takes as long as its
// share of a product. Such weights come from the third level, which is much slower still, unless they are prefetched.
// Each chunk therefore prefetches a few lines of what will be read some 256 KB later, so that all of it has been
// requested when the call ends.
//
// Accumulators reach vector registers only through memory, and converting them to codes takes longer than two products.
// The CPU's reorder window is some 500 operations, less than the two together, so they would not overlap. If weights
// are few, the stores of a step are therefore interleaved with the products of the step after next, and both run at
// once:
//
//        step s      products ... | store sums of s - 1, products | write 4 pieces of s - 2 | products | 4 pieces | ...
//
// Otherwise a step's outputs are written after the products of the next step, and meanwhile weights arrive.
#include "kernels/gemm/gemm.h"

#if defined(__AMX_INT8__) && defined(__AVX512BW__)

#include "kernels/avx512.h"
#include "kernels/gemm/amx_outputs.h"

namespace bitfold {
namespace {

// GCC's intrinsics require literals.
template <int kTile>
BITFOLD_INLINE void load(const void* from, std::int64_t stride) {
  asm volatile("tileloadd (%0, %1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile));
}

/// Loads weights, bypassing the first-level cache if they stream.
template <int kTile>
BITFOLD_INLINE void load_weights(const void* from, bool streams) {
  if (streams)
    asm volatile("tileloaddt1 (%0, %1), %%tmm%c2" : : "r"(from), "r"(kRowBytes), "i"(kTile));
  else
    load<kTile>(from, kRowBytes);
}

template <int kSums, int kPixels, int kWeights>
BITFOLD_INLINE void multiply_add() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kPixels), "i"(kWeights));
}

/// Stores accumulators and restarts them from a block's biases.
template <int kTile, int kBlocks>
BITFOLD_INLINE void exchange(std::int32_t* sums, const std::int32_t* bias) {
  asm volatile("tilestored %%tmm%c[tile], (%[sums], %[row])\n\ttileloadd (%[bias], %[none]), %%tmm%c[tile]"
               :
               : [tile] "i"(kTile), [sums] "r"(sums + kTile * kTileSums), [row] "r"(kRowBytes),
                 [bias] "r"(bias + kTile / kStepTiles<kBlocks> * kBlockChannels), [none] "r"(std::int64_t{0})
               : "memory");
}

template <int kBlocks>
BITFOLD_INLINE void exchange_all(std::int32_t* sums, const std::int32_t* bias) {
  unroll<kBlocks * kStepTiles<kBlocks>>([&](auto i) BITFOLD_INLINE_LAMBDA { exchange<i, kBlocks>(sums, bias); });
}

/// Multiplies kTiles tiles of pixels by kBlocks blocks of channels and leaves the sums in tile registers. The sums of
/// the step before, still in registers, go to memory first. A store waits for the products before it but not for those
/// after it, so the stores of a step come among the first products of the next.
template <int kTiles, int kBlocks, bool kFetchesAhead, bool kInterleaves, class Meanwhile>
BITFOLD_INLINE void multiply(Call& call, const std::uint8_t* const (&x)[kMaxTiles], const std::int8_t* w,
                             const std::int32_t* bias, std::int32_t* sums, const Meanwhile& meanwhile) {
  constexpr int kPixels = 4, kWeights = 6;
  constexpr std::int64_t kAhead = 4096;  // bytes; measured
  const GemmTask& t = call.task;
  const std::int64_t chunk_bytes = call.chunk_groups * kGroupBytes, chunk_weights = call.chunk_groups * kGroupWeights;
  const std::int64_t pixel_stride = t.pixel_stride;
  const bool streams = call.streams;
  const std::int8_t* blocks[kBlocks];
  unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA { blocks[b] = w + b * t.block_weights; });
  bool is_first = true;
  for (std::int64_t r = 0; r < t.run_count; ++r) {
    const std::uint8_t* from[kTiles];
    unroll<kTiles>([&](auto i) BITFOLD_INLINE_LAMBDA { from[i] = x[i] + t.run_offsets[r]; });
    for (std::int64_t k = 0; k < call.chunk_count; ++k) {
      if constexpr (kFetchesAhead)
        for (std::int64_t line = 0; line < call.chunk_groups; ++line)
          _mm_prefetch(reinterpret_cast<const char*>(blocks[0] + kAhead + line * kGroupWeights), _MM_HINT_T0);
      if (call.fetches()) {
        if constexpr (kInterleaves) {
          // Unrolled: a loop makes interleaved layers 6 % slower, because GCC runs out of registers.
          // the adjacent-line prefetcher loads the other line of the pair
          for (int pair = 0; pair < 2; ++pair) call.fetch(2 * pair);
          call.ahead.own.begin += 4 * kLine;
        } else {
          for (std::int64_t line = 0; line < call.fetched_lines; ++line) call.fetch(line);
          call.ahead.own.begin += call.fetched_lines * kLine;
        }
      }
      unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
        load_weights<kWeights + b>(blocks[b], streams);
        unroll<kStepTiles<kBlocks>>([&](auto i) BITFOLD_INLINE_LAMBDA {
          constexpr int kSums = decltype(b)::value * kStepTiles<kBlocks> + decltype(i)::value;
          if constexpr (b == 0 && i < kTiles) load<kPixels + i % 2>(from[i], pixel_stride);
          if (is_first) exchange<kSums, kBlocks>(sums, bias);
          if constexpr (i < kTiles) {
            multiply_add<kSums, kPixels + i % 2, kWeights + b>();
            meanwhile();
          }
        });
      });
      is_first = false;
      unroll<kTiles>([&](auto i) BITFOLD_INLINE_LAMBDA { from[i] += chunk_bytes; });
      unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA { blocks[b] += chunk_weights; });
    }
  }
  if (is_first) exchange_all<kBlocks>(sums, bias);  // nothing to multiply
}

/// Multiplies all pixels by the channels [begin, end), kBlocks blocks at a time. A step's tiles of pixels stay in the
/// first-level cache while the weights stream past them in the order they are stored. kInterleaves: accumulators are
/// converted to outputs in between the products of the step after next, which then need not wait for them.
template <int kBlocks, bool kInterleaves, class Writer>
BITFOLD_INLINE void run_blocks(Call& call, std::int64_t begin, std::int64_t end) {
  using Element = typename Writer::Element;
  constexpr int kTilesPerStep = kStepTiles<kBlocks>;
  constexpr std::int64_t kStepChannels = kBlocks * kBlockChannels;
  const GemmTask& t = call.task;
  const std::int64_t tiles = call.cover.tile_count(), steps = (tiles + kTilesPerStep - 1) / kTilesPerStep;
  Pending<Element> pending[2];
  std::int64_t number = 0;  // step number
  for (std::int64_t step = 0, first = 0; step < steps; ++step) {
    const std::int64_t left = steps - step, count = (tiles - first + left - 1) / left;  // larger steps come first
    const std::uint8_t* from[kMaxTiles];
    Element* into[kMaxTiles];
    for (std::int64_t i = 0; i < kTilesPerStep; ++i) {
      const std::int64_t tile = first + (i < count ? i : 0);
      const std::int64_t row = call.cover.row(tile, t), pixel = call.cover.pixel(tile, t);
      from[i] = t.x + row * t.x_row + pixel * t.pixel_stride;
      into[i] = static_cast<Element*>(t.y) + row * t.y_row + pixel * t.y_stride;
    }
    first += count;
    for (std::int64_t channel = begin; channel < end; channel += kStepChannels, ++number) {
      const std::int8_t* w = t.weights + channel / kBlockChannels * t.block_weights;
      Pending<Element>&now = pending[number % 2], &before = pending[(number + 1) % 2];
      std::int32_t* const sums = call.sums[kInterleaves ? number % 2 : 0];  // sums of the step before
      const auto multiply_tiles = [&](const auto& meanwhile) BITFOLD_INLINE_LAMBDA {
        unroll<kTilesPerStep>([&](auto of) BITFOLD_INLINE_LAMBDA {
          constexpr int kTiles = decltype(of)::value + 1;
          if (count == kTiles)
            multiply<kTiles, kBlocks, (kTiles > kStepTiles<2>), kInterleaves>(call, from, w, call.bias + channel, sums,
                                                                              meanwhile);
        });
      };
      if constexpr (kInterleaves) {
        InterleavedWriter<kBlocks, Writer> interleaved(call, now,
                                                       call.sums[(number + 1) % 2]);  // sums of the step before that
        multiply_tiles([&] BITFOLD_INLINE_LAMBDA { interleaved.advance(); });
        while (!interleaved.is_done()) interleaved.advance();
      } else {
        multiply_tiles([] {});
        if (before.tile_count > 0) finish<kBlocks, Writer>(call, before, sums);
      }
      now.channel = channel;
      now.channel_count = end - channel < kStepChannels ? end - channel : kStepChannels;
      unroll<kTilesPerStep>([&](auto i) BITFOLD_INLINE_LAMBDA { now.y[i] = into[i] + channel; });
      now.tile_count = count;
    }
  }
  Pending<Element>&before = pending[number % 2], &last = pending[(number + 1) % 2];
  if (kInterleaves && before.tile_count > 0) finish<kBlocks, Writer>(call, before, call.sums[(number + 1) % 2]);
  exchange_all<kBlocks>(call.sums[kInterleaves ? number % 2 : 0], call.bias + begin);
  finish<kBlocks, Writer>(call, last, call.sums[kInterleaves ? number % 2 : 0]);
}

// Not inlined, because GCC runs out of registers if both forms of run_blocks are in one function.
template <int kBlocks, class Writer>
[[gnu::noinline]] void run_plain(Call& call, std::int64_t begin, std::int64_t end) {
  run_blocks<kBlocks, false, Writer>(call, begin, end);
}
// Tuned for the first CPUs with AMX: otherwise GCC spills integers to vector registers, through the port that products
// need.
template <int kBlocks, class Writer>
[[gnu::noinline, gnu::target("tune=sapphirerapids")]] void run_interleaved(Call& call, std::int64_t begin,
                                                                           std::int64_t end) {
  run_blocks<kBlocks, true, Writer>(call, begin, end);
}

template <int kBlocks, class Writer>
void run_channels_by(Call& call, std::int64_t begin, std::int64_t end) {
  if (begin == end) return;
  if constexpr (sizeof(typename Writer::Element) == 1)  // output is codes
    if (call.interleaves<kBlocks>(end - begin)) return run_interleaved<kBlocks, Writer>(call, begin, end);
  run_plain<kBlocks, Writer>(call, begin, end);
}

template <class TwoBlocks, class OneBlock>
void run_channels(Call& call) {
  constexpr std::int64_t kPair = 2 * kBlockChannels;
  const std::int64_t count = call.task.channel_count;
  const std::int64_t most = count % kPair > kBlockChannels ? count : count / kPair * kPair;
  const std::int64_t paired = call.is_one_pass ? 0 : most;
  run_channels_by<2, TwoBlocks>(call, 0, paired);
  run_channels_by<1, OneBlock>(call, paired, count);
}

template <bool kStepsFit, CodeBounds kBounds>
void run_codes(Call& call) {
  run_channels<CodeWriter<2, kStepsFit, kBounds>, CodeWriter<1, kStepsFit, kBounds>>(call);
}

void run(const GemmTask& t) noexcept {
  Call call(t);
  const TileConfig config(call.cover.pixels, call.chunk_groups);
  config.load();
  const ConvOutput& output = *t.output;
  const CodeBounds bounds = bounds_of(output, t.terms);
  if (output.kind != AccumulatorOutput::code)
    run_channels<WordWriter<2>, WordWriter<1>>(call);
  else if (!t.steps_fit)
    run_codes<false, CodeBounds::any>(call);
  else if (bounds == CodeBounds::any)
    run_codes<true, CodeBounds::any>(call);
  else if (bounds == CodeBounds::bytes)
    run_codes<true, CodeBounds::bytes>(call);
  else if (bounds == CodeBounds::quick_bytes)
    run_codes<true, CodeBounds::quick_bytes>(call);
  else
    run_codes<true, CodeBounds::quick_bytes_from_zero>(call);
  _tile_release();  // Linux switches threads more slowly while tiles are in use
}

constexpr GemmKernel kKernels[] = {
    {"amx 32x32", Isa::amx, kStepTiles<2>* kTileRows, kChannels, run, nullptr, true, kPrefetchDistance}};

}  // namespace

const GemmTable kAmxGemm{kKernels, 1};

}  // namespace bitfold

#else

namespace bitfold {
const GemmTable kAmxGemm{nullptr, 0};
}

#endif
