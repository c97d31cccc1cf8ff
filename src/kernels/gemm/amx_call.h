// The state of one call of the AMX kernel: how tiles cover its pixels, and how its windows are cut into products. Part
// of gemm_amx.cpp, compiled with its flags.
#pragma once

#include <cstdint>

#include "kernels/avx512.h"
#include "kernels/gemm/gemm.h"

namespace bitfold {
namespace {

constexpr std::int64_t kTileRows = 16, kRowBytes = 64, kTileSums = 256;
constexpr std::int64_t kLine = 64;       // bytes of a cache line
constexpr std::int64_t kChannels = 256;  // channels per call
constexpr int kAccumulators = 4;         // accumulator tiles per step: tiles of pixels times blocks of channels

/// Tiles of pixels in a step of kBlocks blocks.
template <int kBlocks>
constexpr int kStepTiles = kAccumulators / kBlocks;
constexpr int kMaxTiles = kStepTiles<1>;

/// Tile registers 0..3 hold accumulators [block][tile]; 4 and 5 hold pixels; 6 and 7 hold weights.
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

/// How tiles cover a task's pixels.
struct Cover {
  std::int64_t pixels;             ///< Pixels of a tile, including padding between rows.
  std::int64_t rows = 1;           ///< Rows of the image in a tile.
  std::int64_t tiles_per_row = 1;  ///< 1 if a tile covers several rows.
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
  /// Whether a step of one block covers all pixels while a step of two blocks does not.
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

/// State shared by all products of a call.
struct Call {
  const GemmTask& task;
  Cover cover;
  std::int64_t chunk_groups, chunk_count;  ///< Groups in a chunk of a run, and chunks in a run.
  std::int64_t row_pixels, row_sums;       ///< Outputs of one image row in a tile; sums from one row to the next.
  /// All pixels are multiplied in one pass over the weights, and stay in the first-level cache during it.
  bool is_one_pass;
  PrefetchRanges ahead;
  /// Lines prefetched with each chunk of a step; 4 per chunk if outputs are interleaved.
  std::int64_t fetched_lines = 0;
  /// Whether weights bypass the first-level cache (48 KB). Set if the cache cannot keep them until the next pixels, and
  /// loading them would evict pixels that are still needed.
  bool streams = false;
  const std::int32_t* bias;  ///< Initial values of the accumulators.
  alignas(64) std::int32_t moved_bias[kChannels];
  alignas(64) std::int32_t sums[2][kAccumulators * kTileSums];  ///< Two steps alternate.

  explicit Call(const GemmTask& t)
      : task(t),
        cover(t),
        chunk_groups(amx_chunk_groups(t.group_count)),
        chunk_count(t.group_count / chunk_groups),
        row_pixels(cover.rows == 1 ? cover.pixels : t.pixel_count),
        row_sums(cover.rows == 1 ? 0 : t.x_row / t.pixel_stride * kBlockChannels),
        is_one_pass(stays_close()),
        ahead(t.ahead),
        bias(t.bias) {
    constexpr std::int64_t kMaxCachedWeights = 24 * 1024;  // measured
    streams = weights(t.channel_count) > kMaxCachedWeights;
    const std::int64_t lines = (ahead.own.end - ahead.own.begin + ahead.next.end - ahead.next.begin) / kLine;
    const std::int64_t all_chunks = chunks() * (is_one_pass ? step_count<1>() : step_count<2>());
    if (all_chunks > 0) fetched_lines = (lines + all_chunks - 1) / all_chunks;
    if (t.terms.origins == nullptr) return;
    for (std::int64_t c = 0; c < t.channel_count; c += kBlockChannels)
      _mm512_store_si512(moved_bias + c, start_of(t.bias, t.terms, c));
    bias = moved_bias;
  }

  /// Whether anything is left to prefetch; if so, `own` starts with the next line.
  BITFOLD_INLINE bool fetches() {
    if (ahead.own.begin < ahead.own.end) return true;
    ahead = {ahead.next, {}};
    return ahead.own.begin < ahead.own.end;
  }
  /// Prefetches line number `line` of `own`.
  BITFOLD_INLINE void fetch(std::int64_t line) const {
    _mm_prefetch(reinterpret_cast<const char*>(ahead.own.begin + line * kLine), _MM_HINT_T1);
  }

  template <int kBlocks>
  std::int64_t step_count() const {
    constexpr std::int64_t kTiles = kStepTiles<kBlocks>, kChannelsOfStep = kBlocks * kBlockChannels;
    return (cover.tile_count() + kTiles - 1) / kTiles * ((task.channel_count + kChannelsOfStep - 1) / kChannelsOfStep);
  }
  std::int64_t chunks() const { return task.run_count * chunk_count; }  ///< Chunks of a window.
  /// Bytes of the weights for this many channels.
  std::int64_t weights(std::int64_t channels) const {
    return chunks() * chunk_groups * kGroupWeights * channels / kBlockChannels;
  }

  /// Whether outputs are stored in between products (see run_blocks). Requires few weights: loads of many weights,
  /// which come from farther away, would be delayed by the interleaved stores.
  template <int kBlocks>
  bool interleaves(std::int64_t channels) const {
    constexpr std::int64_t kMaxInterleavedWeights = 64 * 1024;  // measured
    return chunks() > 0 && cover.rows == 1 && row_pixels % (4 / kBlocks) == 0 &&
           channels % (kBlocks * kBlockChannels) == 0 && weights(channels) <= kMaxInterleavedWeights;
  }

 private:
  bool stays_close() const {
    constexpr std::int64_t kFirstLevel = 44 * 1024;  // bytes, of 48 KB
    if (!cover.is_one_step() || task.run_count == 0) return false;
    const std::int64_t last = (task.row_count - 1) * task.x_row + (task.pixel_count - 1) * task.pixel_stride;
    std::int64_t last_run = 0;  // the maximum, because run_offsets of split images are not in ascending order
    for (std::int64_t r = 0; r < task.run_count; ++r)
      if (task.run_offsets[r] > last_run) last_run = task.run_offsets[r];
    return last + last_run + task.group_count * kGroupBytes <= kFirstLevel;
  }
};

}  // namespace
}  // namespace bitfold
