// Conversion of accumulators that tiles have stored to memory into outputs: all at once, or a few at a time in between
// the next products. Part of gemm_amx.cpp, compiled with its flags.
#pragma once

#include "kernels/avx512.h"
#include "kernels/gemm/amx_call.h"

namespace bitfold {
namespace {

/// Outputs whose accumulators are still in tile registers, or already in memory.
template <class Element>
struct Pending {
  std::int64_t channel = 0, channel_count = 0;
  Element* y[kMaxTiles] = {};
  std::int64_t tile_count = 0;
};

/// The destination of these outputs, except for y.
BITFOLD_INLINE Destination destination_of(const GemmTask& t, std::int64_t channel, std::int64_t channel_count) {
  return {.output = t.output,
          .multipliers = t.multipliers + channel,
          .terms = t.terms.from(channel),
          .stride = t.y_stride,
          .channel_count = channel_count};
}

/// Converts kPixels pixels of a tile.
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

/// Converts accumulators in memory to outputs, a few pieces of 64 at a time, interleaved with other work. Requires
/// tiles that are one row of a multiple of kPixels pixels, and whole blocks.
template <int kBlocks, class Writer>
class InterleavedWriter {
 public:
  using Element = typename Writer::Element;
  static constexpr std::int64_t kPixels = 4 / kBlocks;  // 4 registers at a time
  static constexpr int kMaxPieces = 4;                  // maximum number of pieces converted at a time

  BITFOLD_INLINE InterleavedWriter(const Call& call, const Pending<Element>& pending, const std::int32_t* sums)
      : writer_(destination_of(call.task, pending.channel, kBlocks * kBlockChannels)),
        stride_(call.task.y_stride),
        per_tile_(call.row_pixels / kPixels),
        at_a_time_(call.chunks() <= 2 ? kMaxPieces : kMaxPieces / 2),
        from_(sums),
        y_(pending.y),
        end_(pending.y + pending.tile_count),
        to_(*y_),
        left_(pending.tile_count > 0 ? per_tile_ : 0) {}

  BITFOLD_INLINE bool is_done() const { return left_ == 0; }

  /// Converts the usual number of pieces, or what is left of a tile.
  BITFOLD_INLINE void advance() {
    if (left_ > at_a_time_) {
      left_ -= at_a_time_;
      return at_a_time_ == kMaxPieces ? pieces<kMaxPieces>() : pieces<kMaxPieces / 2>();
    }
    if (left_ == 0) return;
    if (left_ == kMaxPieces)
      pieces<kMaxPieces>();
    else
      for (std::int64_t i = 0; i < left_; ++i) pieces<1>();
    from_ += (kTileRows - per_tile_ * kPixels) * kBlockChannels;
    if (++y_ == end_) {
      left_ = 0;
      return;
    }
    to_ = *y_;
    left_ = per_tile_;
  }

 private:
  template <int kCount>
  BITFOLD_INLINE void pieces() {
    unroll<kCount>([&](auto) BITFOLD_INLINE_LAMBDA {
      finish_pixels<kPixels, kBlocks>(writer_, from_, to_, stride_);
      from_ += kPixels * kBlockChannels;
      to_ += kPixels * stride_;
    });
  }

  const Writer writer_;
  const std::int64_t stride_, per_tile_, at_a_time_;
  const std::int32_t* from_;
  Element* const* y_;  ///< Destination in the current tile; tiles are visited in order.
  Element* const* const end_;
  Element* to_;
  std::int64_t left_;  ///< Pieces left in the current tile.
};

/// Converts accumulators in memory to outputs.
template <int kBlocks, class Writer>
BITFOLD_INLINE void finish(const Call& call, const Pending<typename Writer::Element>& pending,
                           const std::int32_t* sums) {
  constexpr std::int64_t kPixels = 4 / kBlocks;  // 4 registers at a time
  const Writer writer(destination_of(call.task, pending.channel, pending.channel_count));
  const std::int64_t stride = call.task.y_stride;
  for (std::int64_t tile = 0; tile < pending.tile_count; ++tile)
    for (std::int64_t row = 0; row < call.cover.rows; ++row) {
      const std::int32_t* from = sums + tile * kTileSums + row * call.row_sums;
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

}  // namespace
}  // namespace bitfold
