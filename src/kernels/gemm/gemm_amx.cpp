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
// Accumulators reach vector registers through memory only. Their way from there to codes takes longer than two
// products, so it is cut into pieces that run between the steps of the next tiles.
#include "kernels/gemm/gemm.h"

#if defined(__AMX_INT8__) && defined(__AVX512BW__)

#include "kernels/avx512.h"

namespace bitfold {
namespace {

constexpr std::int64_t kTileRows = 16, kRowBytes = 64, kTileSums = 256;
constexpr std::int64_t kChannels = 256;  // of a call
constexpr int kAccumulators = 4;         // of a step: so many tiles of pixels times blocks of channels

/// Tiles of pixels in a step of kBlocks blocks.
template <int kBlocks>
constexpr int kStepTiles = kAccumulators / kBlocks;
constexpr int kMostTiles = kStepTiles<1>;

/// Registers 0..3: accumulators [block][tile]; 4, 5: pixels; 6, 7: weights.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  TileConfig(std::int64_t pixels, std::int64_t groups) {
    for (int i = 0; i < kAccumulators; ++i) set(i, pixels, kRowBytes);
    for (int i = 4; i < 6; ++i) set(i, pixels, groups * kGroupBytes);
    for (int i = 6; i < 8; ++i) set(i, groups, kRowBytes);
  }
  void load() const { asm volatile("ldtilecfg %0" : : "m"(*this)); }

 private:
  void set(int tile, std::int64_t row_count, std::int64_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(row_count);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};

/// How a task's pixels are covered by tiles.
struct Cover {
  std::int64_t pixels;             ///< Of a tile, padding between rows included.
  std::int64_t rows = 1;           ///< Of the image, in a tile.
  std::int64_t tiles_per_row = 1;  ///< 1 where a tile has several rows.
  std::int64_t row_steps = 1;

  explicit Cover(const GemmTask& t) {
    tiles_per_row = (t.pixel_count + kTileRows - 1) / kTileRows;
    pixels = (t.pixel_count + tiles_per_row - 1) / tiles_per_row;
    const std::int64_t pitch = t.x_row / t.pixel_stride;
    if (t.row_count > 1 && t.x_row % t.pixel_stride == 0 && pitch >= t.pixel_count &&
        pitch + t.pixel_count <= kTileRows) {
      rows = (kTileRows - t.pixel_count) / pitch + 1;
      if (rows > t.row_count) rows = t.row_count;
      pixels = (rows - 1) * pitch + t.pixel_count;
    }
    row_steps = (t.row_count + rows - 1) / rows;
  }

  std::int64_t tile_count() const { return row_steps * tiles_per_row; }
  /// Whether a step of one block takes all of them, and one of two blocks does not.
  bool is_one_step() const { return tile_count() > kStepTiles<2> && tile_count() <= kStepTiles<1>; }
  std::int64_t row(std::int64_t tile, const GemmTask& t) const {
    const std::int64_t first = tile / tiles_per_row * rows, last = t.row_count - rows;
    return first < last ? first : last;
  }
  std::int64_t pixel(std::int64_t tile, const GemmTask& t) const {
    const std::int64_t first = tile % tiles_per_row * pixels, last = t.pixel_count - pixels;
    return tiles_per_row == 1 || first < last ? first * (tiles_per_row != 1) : last;
  }
};

/// What all products of a call have in common.
struct Call {
  const GemmTask& task;
  Cover cover;
  std::int64_t chunk_groups, chunk_count;  ///< Of a run.
  std::int64_t row_pixels, row_sums;       ///< Outputs of a tile's row of the image; sums from a row to the next.
  FetchAhead ahead;
  alignas(64) std::int32_t sums[kAccumulators * kTileSums];

  explicit Call(const GemmTask& t)
      : task(t),
        cover(t),
        chunk_groups(amx_chunk_groups(t.group_count)),
        chunk_count(t.group_count / chunk_groups),
        row_pixels(cover.rows == 1 ? cover.pixels : t.pixel_count),
        row_sums(cover.rows == 1 ? 0 : t.x_row / t.pixel_stride * kBlockChannels) {
    if (t.ahead != nullptr) ahead = *t.ahead;
  }

  /// Whether all pixels go past the weights at once, and stay in the first-level cache (48 KB) meanwhile.
  bool is_one_pass() const {
    constexpr std::int64_t kFirstLevel = 44 * 1024;
    if (!cover.is_one_step() || task.run_count == 0) return false;
    const std::int64_t last = (task.row_count - 1) * task.x_row + (task.pixel_count - 1) * task.pixel_stride;
    return last + task.run_offsets[task.run_count - 1] + task.group_count * kGroupBytes <= kFirstLevel;
  }
};

/// Outputs whose accumulators are in registers still, or in memory already.
template <class Element>
struct Pending {
  Destination to;  ///< Its y is not used.
  Element* y[kMostTiles];
  std::int64_t tile_count = 0;
};

/// kPixels pixels of a tile.
template <int kPixels, int kBlocks, class Writer, class Element>
BITFOLD_INLINE void finish_pixels(const Writer& writer, const std::int32_t* from, Element* y, std::int64_t stride) {
  __m512i sums[kPixels][kBlocks];
  unroll<kPixels>([&](auto p) BITFOLD_INLINE_LAMBDA {
    unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
      sums[p][b] = _mm512_load_si512(from + b * kStepTiles<kBlocks> * kTileSums + p * kBlockChannels);
    });
  });
  writer.write(sums, [&](auto p) BITFOLD_INLINE_LAMBDA { return y + p * stride; });
}

/// From memory to outputs.
template <int kBlocks, class Writer>
BITFOLD_INLINE void finish(const Call& call, const Pending<typename Writer::Element>& pending) {
  constexpr std::int64_t kPixels = 4 / kBlocks;  // 4 registers at a time
  const Writer writer(pending.to);
  const std::int64_t stride = call.task.y_stride;
  for (std::int64_t tile = 0; tile < pending.tile_count; ++tile)
    for (std::int64_t row = 0; row < call.cover.rows; ++row) {
      const std::int32_t* from = call.sums + tile * kTileSums + row * call.row_sums;
      auto* y = pending.y[tile] + row * call.task.y_row;
      std::int64_t left = call.row_pixels;
      for (; left >= kPixels; left -= kPixels) {
        finish_pixels<kPixels, kBlocks>(writer, from, y, stride);
        from += kPixels * kBlockChannels;
        y += kPixels * stride;
      }
      for (; left > 0; --left) {
        finish_pixels<1, kBlocks>(writer, from, y, stride);
        from += kBlockChannels;
        y += stride;
      }
    }
}

// GCC's intrinsics take literals only.
template <int kTile>
BITFOLD_INLINE void load(const void* from, std::int64_t stride) {
  asm volatile("tileloadd (%0, %1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile));
}

template <int kSums, int kPixels, int kWeights>
BITFOLD_INLINE void multiply_add() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kPixels), "i"(kWeights));
}

/// Stores accumulators, and starts them anew from a block's biases.
template <int kTile, int kBlocks>
BITFOLD_INLINE void exchange(Call& call, const std::int32_t* bias) {
  asm volatile("tilestored %%tmm%c[tile], (%[sums], %[row])\n\ttileloadd (%[bias], %[none]), %%tmm%c[tile]"
               :
               : [tile] "i"(kTile), [sums] "r"(call.sums + kTile * kTileSums), [row] "r"(kRowBytes),
                 [bias] "r"(bias + kTile / kStepTiles<kBlocks> * kBlockChannels), [none] "r"(std::int64_t{0})
               : "memory");
}

template <int kBlocks>
BITFOLD_INLINE void exchange_all(Call& call, const std::int32_t* bias) {
  unroll<kBlocks * kStepTiles<kBlocks>>([&](auto i) BITFOLD_INLINE_LAMBDA { exchange<i, kBlocks>(call, bias); });
}

/// kTiles tiles of pixels times kBlocks blocks of channels, left in registers; the sums of the step before, still in
/// registers, go to memory. A store waits for the products before it, but not for those behind it: so the stores of a
/// step are among the first products of the next.
template <int kTiles, int kBlocks, bool kFetchesAhead>
BITFOLD_INLINE void multiply(Call& call, const std::uint8_t* const (&x)[kMostTiles], const std::int8_t* w,
                             const std::int32_t* bias) {
  constexpr int kPixels = 4, kWeights = 6;
  constexpr std::int64_t kAhead = 4096, kLine = 64;  // bytes; the first measured
  const GemmTask& t = call.task;
  const std::int64_t chunk_bytes = call.chunk_groups * kGroupBytes, chunk_weights = call.chunk_groups * kGroupWeights;
  const std::int64_t pixel_stride = t.pixel_stride;
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
      if (call.ahead.begin < call.ahead.end) {
        // Lines come in pairs. More at a time would be in the way of the loads that products wait for.
        for (int pair = 0; pair < 2; ++pair)
          _mm_prefetch(reinterpret_cast<const char*>(call.ahead.begin + pair * 2 * kLine), _MM_HINT_T1);
        call.ahead.begin += 4 * kLine;
      }
      unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA {
        load<kWeights + b>(blocks[b], kRowBytes);
        unroll<kStepTiles<kBlocks>>([&](auto i) BITFOLD_INLINE_LAMBDA {
          constexpr int kSums = decltype(b)::value * kStepTiles<kBlocks> + decltype(i)::value;
          if constexpr (b == 0 && i < kTiles) load<kPixels + i % 2>(from[i], pixel_stride);
          if (is_first) exchange<kSums, kBlocks>(call, bias);
          if constexpr (i < kTiles) multiply_add<kSums, kPixels + i % 2, kWeights + b>();
        });
      });
      is_first = false;
      unroll<kTiles>([&](auto i) BITFOLD_INLINE_LAMBDA { from[i] += chunk_bytes; });
      unroll<kBlocks>([&](auto b) BITFOLD_INLINE_LAMBDA { blocks[b] += chunk_weights; });
    }
  }
  if (is_first) exchange_all<kBlocks>(call, bias);  // nothing to multiply
}

/// All pixels times the channels [begin, end), kBlocks blocks at a time. A step's tiles of pixels stay in the
/// first-level cache while the weights, which lie in the order they are read in, stream past them.
template <int kBlocks, class Writer>
void run_blocks(Call& call, std::int64_t begin, std::int64_t end) {
  using Element = typename Writer::Element;
  constexpr int kMost = kStepTiles<kBlocks>;
  constexpr std::int64_t kStepChannels = kBlocks * kBlockChannels;
  const GemmTask& t = call.task;
  Pending<Element> pending{};
  const std::int64_t tiles = call.cover.tile_count(), steps = (tiles + kMost - 1) / kMost;
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
    for (std::int64_t channel = begin; channel < end; channel += kStepChannels) {
      const std::int8_t* w = t.weights + channel / kBlockChannels * t.block_weights;
      const auto multiply_tiles = [&](auto of) BITFOLD_INLINE_LAMBDA {
        constexpr int kTiles = decltype(of)::value + 1;
        if (count == kTiles) multiply<kTiles, kBlocks, (kTiles > kStepTiles<2>)>(call, from, w, t.bias + channel);
      };
      unroll<kMost>(multiply_tiles);
      if (pending.tile_count > 0) finish<kBlocks, Writer>(call, pending);
      pending.to.output = t.output;
      pending.to.multipliers = t.multipliers + channel;
      pending.to.channel_count = end - channel < kStepChannels ? end - channel : kStepChannels;
      unroll<kMost>([&](auto i) BITFOLD_INLINE_LAMBDA { pending.y[i] = into[i] + channel; });
      pending.tile_count = count;
    }
  }
  exchange_all<kBlocks>(call, t.bias + begin);
  finish<kBlocks, Writer>(call, pending);
}

template <class TwoBlocks, class OneBlock>
void run_channels(Call& call) {
  constexpr std::int64_t kPair = 2 * kBlockChannels;
  const std::int64_t count = call.task.channel_count;
  const std::int64_t most = count % kPair > kBlockChannels ? count : count / kPair * kPair;
  const std::int64_t paired = call.is_one_pass() ? 0 : most;
  if (paired > 0) run_blocks<2, TwoBlocks>(call, 0, paired);
  if (paired < count) run_blocks<1, OneBlock>(call, paired, count);
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
  if (output.kind != AccumulatorOutput::code)
    run_channels<WordWriter<2>, WordWriter<1>>(call);
  else if (!t.steps_fit)
    run_codes<false, CodeBounds::any>(call);
  else if (bounds_of(output) == CodeBounds::any)
    run_codes<true, CodeBounds::any>(call);
  else if (bounds_of(output) == CodeBounds::bytes)
    run_codes<true, CodeBounds::bytes>(call);
  else
    run_codes<true, CodeBounds::bytes_from_zero>(call);
  if (t.ahead != nullptr) *t.ahead = call.ahead;
  _tile_release();  // a thread whose tiles are in use is slower to switch
}

constexpr GemmKernel kKernels[] = {{"amx 32x32", Isa::amx, kStepTiles<2>* kTileRows, kChannels, run, nullptr, true}};

}  // namespace

const GemmTable kAmxGemm{kKernels, 1};

}  // namespace bitfold

#else

namespace bitfold {
const GemmTable kAmxGemm{nullptr, 0};
}

#endif
