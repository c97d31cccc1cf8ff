// The matrix product with AMX: TDPBUSD multiplies 16 pixels by 16 channels, up to 64 bytes of depth each, in 16 cycles.
//
// A tile is up to 16 rows of up to 64 bytes. Both operands are such tiles in memory as they are, without a copy:
//
//        A: pixels                            B: a block of packed weights           C: accumulators, int32
//
//         x                 [ 64 bytes ]      w         group 0  [16 x (k0 .. k3)]   pixel 0   [16 channels]
//         x +   pixel_stride[ 64 bytes ]      w +  64   group 1  [16 x (k4 .. k7)]   pixel 1   [16 channels]
//         ...                                 ...                                    ...
//         x +15 pixel_stride[ 64 bytes ]      w + 960   group 15 [16 x (k60..k63)]   pixel 15  [16 channels]
//
// Tiles have one shape during a call, as changing it costs 200 cycles: a run is cut into chunks of equally many groups.
// Rows of pixels are covered by tiles of equally many pixels, too; the last one overlaps the one before, and does some
// pixels twice. Where an image's rows are short, a tile covers several of them, and the pixels of padding in between:
//
//        [ 7 pixels of a row | 2 pixels of padding | 7 pixels of the next row ]   what the padding sums up to is not
//        stored
//
// A step multiplies two tiles of pixels by two blocks: 4 accumulators, 4 loads for 4 products. Those of one block
// follow each other, because a product with new weights takes 16 cycles and one with the same takes a cycle per pixel.
// Where four tiles are all the pixels, it multiplies them by one block: weights, which may come from afar and are used
// once then, pass by in the order they lie in.
//
// Weights that the first-level cache cannot keep until the next pixels pass it by (tileloaddt1): otherwise they drive
// out the pixels that wait for the next weights, and a line from the second level takes as long as its part of a
// product. They come from the third level, which is far slower still, unless they are fetched in time: each chunk asks
// for a few lines of what will be read some 256 KB later, so many that all of them have been asked for when the call
// ends.
//
// Accumulators reach vector registers through memory only, and their way from there to codes takes longer than two
// products. The CPU sees some 500 operations ahead, less than the two together: so they would take turns. Where weights
// are few, what is to be written of a step is woven into the products of the step after next, and both go on at once:
//
//        step s      products ... | store sums of s - 1, products | write 4 pieces of s - 2 | products | 4 pieces | ...
//
// Otherwise a step's outputs are written behind the products of the next one, which wait for weights meanwhile.
#include "kernels/gemm/gemm.h"

#if defined(__AMX_INT8__) && defined(__AVX512BW__)

#include "kernels/avx512.h"
#include "kernels/gemm/amx_outputs.h"

namespace bitfold {
namespace {

// GCC's intrinsics take literals only.
template <int kTile>
BITFOLD_INLINE void load(const void* from, std::int64_t stride) {
  asm volatile("tileloadd (%0, %1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile));
}

/// Weights; past the first-level cache where they stream.
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

/// Stores accumulators, and starts them anew from a block's biases.
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

/// kTiles tiles of pixels times kBlocks blocks of channels, left in registers; the sums of the step before, still in
/// registers, go to memory. A store waits for the products before it, but not for those behind it: so the stores of a
/// step are among the first products of the next.
template <int kTiles, int kBlocks, bool kFetchesAhead, bool kWeaves, class Meanwhile>
BITFOLD_INLINE void multiply(Call& call, const std::uint8_t* const (&x)[kMostTiles], const std::int8_t* w,
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
        if constexpr (kWeaves) {
          // A loop costs woven layers 6 %: GCC finds no registers for it.
          for (int pair = 0; pair < 2; ++pair) call.fetch(2 * pair);  // the other line of a pair comes with it
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

/// All pixels times the channels [begin, end), kBlocks blocks at a time. A step's tiles of pixels stay in the
/// first-level cache while the weights, which lie in the order they are read in, stream past them. kWeaves:
/// accumulators go from memory to outputs among the products of the step after next, which then need not wait for them.
template <int kBlocks, bool kWeaves, class Writer>
BITFOLD_INLINE void run_blocks(Call& call, std::int64_t begin, std::int64_t end) {
  using Element = typename Writer::Element;
  constexpr int kMost = kStepTiles<kBlocks>;
  constexpr std::int64_t kStepChannels = kBlocks * kBlockChannels;
  const GemmTask& t = call.task;
  const std::int64_t tiles = call.cover.tile_count(), steps = (tiles + kMost - 1) / kMost;
  Pending<Element> pending[2];
  std::int64_t number = 0;  // of a step
  for (std::int64_t step = 0, first = 0; step < steps; ++step) {
    const std::int64_t left = steps - step, count = (tiles - first + left - 1) / left;  // the most first
    const std::uint8_t* from[kMostTiles];
    Element* into[kMostTiles];
    for (std::int64_t i = 0; i < kMost; ++i) {
      const std::int64_t tile = first + (i < count ? i : 0);
      const std::int64_t row = call.cover.row(tile, t), pixel = call.cover.pixel(tile, t);
      from[i] = t.x + row * t.x_row + pixel * t.pixel_stride;
      into[i] = static_cast<Element*>(t.y) + row * t.y_row + pixel * t.y_stride;
    }
    first += count;
    for (std::int64_t channel = begin; channel < end; channel += kStepChannels, ++number) {
      const std::int8_t* w = t.weights + channel / kBlockChannels * t.block_weights;
      Pending<Element>&now = pending[number % 2], &before = pending[(number + 1) % 2];
      std::int32_t* const sums = call.sums[kWeaves ? number % 2 : 0];  // of the step before
      const auto multiply_tiles = [&](const auto& meanwhile) BITFOLD_INLINE_LAMBDA {
        unroll<kMost>([&](auto of) BITFOLD_INLINE_LAMBDA {
          constexpr int kTiles = decltype(of)::value + 1;
          if (count == kTiles)
            multiply<kTiles, kBlocks, (kTiles > kStepTiles<2>), kWeaves>(call, from, w, call.bias + channel, sums,
                                                                         meanwhile);
        });
      };
      if constexpr (kWeaves) {
        Weft<kBlocks, Writer> weft(call, now, call.sums[(number + 1) % 2]);  // the step before that
        multiply_tiles([&] BITFOLD_INLINE_LAMBDA { weft.some(); });
        while (!weft.is_done()) weft.some();
      } else {
        multiply_tiles([] {});
        if (before.tile_count > 0) finish<kBlocks, Writer>(call, before, sums);
      }
      now.channel = channel;
      now.channel_count = end - channel < kStepChannels ? end - channel : kStepChannels;
      unroll<kMost>([&](auto i) BITFOLD_INLINE_LAMBDA { now.y[i] = into[i] + channel; });
      now.tile_count = count;
    }
  }
  Pending<Element>&before = pending[number % 2], &last = pending[(number + 1) % 2];
  if (kWeaves && before.tile_count > 0) finish<kBlocks, Writer>(call, before, call.sums[(number + 1) % 2]);
  exchange_all<kBlocks>(call.sums[kWeaves ? number % 2 : 0], call.bias + begin);
  finish<kBlocks, Writer>(call, last, call.sums[kWeaves ? number % 2 : 0]);
}

// Apart, or GCC finds no registers for either.
template <int kBlocks, class Writer>
[[gnu::noinline]] void run_plain(Call& call, std::int64_t begin, std::int64_t end) {
  run_blocks<kBlocks, false, Writer>(call, begin, end);
}
// Tuned for the first CPUs with tiles: otherwise GCC spills integers to vector registers, through the port products
// need.
template <int kBlocks, class Writer>
[[gnu::noinline, gnu::target("tune=sapphirerapids")]] void run_woven(Call& call, std::int64_t begin, std::int64_t end) {
  run_blocks<kBlocks, true, Writer>(call, begin, end);
}

template <int kBlocks, class Writer>
void run_channels_by(Call& call, std::int64_t begin, std::int64_t end) {
  if (begin == end) return;
  if constexpr (sizeof(typename Writer::Element) == 1)  // codes
    if (call.weaves<kBlocks>(end - begin)) return run_woven<kBlocks, Writer>(call, begin, end);
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
  _tile_release();  // a thread whose tiles are in use is slower to switch
}

constexpr GemmKernel kKernels[] = {
    {"amx 32x32", Isa::amx, kStepTiles<2>* kTileRows, kChannels, run, nullptr, true, kFetchLead}};

}  // namespace

const GemmTable kAmxGemm{kKernels, 1};

}  // namespace bitfold

#else

namespace bitfold {
const GemmTable kAmxGemm{nullptr, 0};
}

#endif
