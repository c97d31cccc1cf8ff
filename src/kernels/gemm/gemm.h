// The matrix product inside a convolution: mr pixels times nr output channels in registers.
//
// A convolution over NHWC needs no im2col. The window of an output pixel is a few runs of adjacent bytes: one per
// kernel row where a row's taps are adjacent (one group, no horizontal dilation), else one per tap.
//
//        image row 0   . . . [ k k k k k k k k k ] . . .    run 0: kernel_w * channels bytes
//        image row 1   . . . [ k k k k k k k k k ] . . .    run 1
//                             ^ x + pixel * pixel_stride + run_offsets[1]
//
// A run is read 4 bytes at a time, as vpdpbusd multiplies them. Where its length is no multiple of 4, the last group
// reaches into what follows, and the weights there are 0.
//
// Packed weights, int8, the same for every instruction set: 64 bytes hold 4 products of each of 16 output channels.
//
//        [block of 16 output channels][run][group of 4]  [channel 0: k0 k1 k2 k3][channel 1: k0 k1 k2 k3] ... [channel
//        15]
//
// Channels and groups that fill no block are zeros. So a block is run_count * group_count * 64 bytes, and 32 output
// channels are two blocks read side by side.
//
// Winograd's inner product (Winograd 1968, "A New Algorithm for Inner Product") halves the multiplications:
//
//   x0 w0 + x1 w1  =  (x0 + w1) (x1 + w0)  -  x0 x1  -  w0 w1
//
// The last term, over a channel's weights, is taken off its bias beforehand; the one before, over a pixel's window, is
// computed once for all channels. All of it is exact modulo 2^32, and so is the accumulator, which fits int32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "bitfold/cpu.h"
#include "kernels/conv_output.h"

namespace bitfold {

constexpr std::int64_t kGroupBytes = 4;
constexpr std::int64_t kGroupWeights = kBlockChannels * kGroupBytes;
/// Of one of AMX's tiles, at most.
constexpr std::int64_t kTilePixels = 16;

/// Weights are fetched so many bytes ahead of their use. Measured on ResNet-50: the second-level cache keeps as many
/// beside pixels and the weights at hand; of half as many more, some are gone again when they are needed.
constexpr std::int64_t kFetchLead = 256 * 1024;

/// Plain pointers, as files compiled for one instruction set read them.
struct MemoryRange {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;

  /// See FetchAhead.
  MemoryRange share(std::int64_t begin_part, std::int64_t end_part, std::int64_t count) const;
};

/// Memory that will be read soon, to be brought closer while something else is computed: what is left of the weights
/// at hand, then the next ones.
struct FetchAhead {
  MemoryRange own, next;

  /// What falls to [begin, end) of `count` equal parts, the first of which are `own`; the last may be cut short.
  FetchAhead share(std::int64_t begin, std::int64_t end, std::int64_t count) const;
  /// What falls to the passes [begin, end) of `count`: the first one reads all weights at hand.
  FetchAhead share_passes(std::int64_t begin, std::int64_t end, std::int64_t count) const;
};

/// Pixels at equal distances, or rows of such, times up to nr output channels.
struct GemmTask {
  const std::uint8_t* x = nullptr;            ///< The first pixel's window.
  std::int64_t pixel_stride = 0;              ///< Bytes.
  std::int64_t pixel_count = 0;               ///< Of a row.
  std::int64_t row_count = 1;                 ///< More only where the kernel takes rows.
  std::int64_t x_row = 0;                     ///< Bytes from one row to the next.
  const std::int64_t* run_offsets = nullptr;  ///< Bytes from a window's start to each of its runs.
  std::int64_t run_count = 0, group_count = 0;
  const std::int8_t* weights = nullptr;   ///< The first block's first run.
  std::int64_t block_weights = 0;         ///< Bytes from one block to the next: runs that are left out count too.
  const std::int32_t* bias = nullptr;     ///< 16 per block, as are the multipliers. Less w0 w1 where pairs are taken.
  const std::int32_t* x_pairs = nullptr;  ///< Of each pixel, where pairs are taken: what sum_pairs() writes.
  const float* multipliers = nullptr;
  StepTerms terms;
  std::int64_t channel_count = 0;  ///< 1 .. nr
  void* y = nullptr;
  std::int64_t y_stride = 0;  ///< Elements from one pixel to the next.
  std::int64_t y_row = 0;     ///< Elements from one row to the next.
  const ConvOutput* output = nullptr;
  FetchAhead ahead;        ///< Kernels with more to compute than to load fetch it.
  bool steps_fit = false;  ///< Every multiplier is below 1, so that accumulator * multiplier stays within int32.
};

/// Handles any number of pixels: mr at a time, then fewer.
struct GemmKernel {
  const char* name;  ///< "avx512vnni 14x32"
  Isa isa;
  int mr, nr;  ///< nr may be 8, for products of no more channels than that.
  void (*run)(const GemmTask& task) noexcept;
  /// Not null where the kernel takes pairs: writes x0 x1 + x2 x3 + ... of each pixel's window, all groups of it.
  void (*sum_pairs)(const GemmTask& task, std::int32_t* pairs) noexcept = nullptr;
  bool takes_rows = false;  ///< Many rows in a call: for kernels with a price per call.
  /// A call takes no more bytes of weights than these, but two blocks at least, and fetches ahead. 0: it does neither.
  std::int64_t most_weights = 0;
};

/// Every kernel this build has, the slowest instruction set first; the CPU may not run all of them.
std::span<const GemmKernel> gemm_kernels();

/// What a convolution asks of its kernels.
struct GemmSize {
  std::int64_t pixel_count = 1, channel_count = 1;
  std::int64_t run_count = 1, group_count = 1;
  std::int64_t row_count = 1;       ///< So many times pixel_count, where they are not adjacent.
  std::optional<bool> takes_pairs;  ///< Where only such kernels are wanted.
};

/// Into how many groups at a time AMX cuts a run, for chunks of one size: the largest divisor that a tile can hold.
std::int64_t amx_chunk_groups(std::int64_t group_count);

/// A pure function of its arguments: the best kernel for such sizes.
const GemmKernel& select_gemm_kernel(const GemmSize& size, Isa cap);

/// Whether to call the kernel separately for a row of pixels, of `pixels_in_all`, for the sake of some products that
/// only it can do without.
bool is_worth_a_call(const GemmKernel& kernel, const GemmSize& left_out, std::int64_t pixels_in_all);

// The tables of the instruction sets, as arrays: a file compiled for one of them must not instantiate shared inline
// functions. Count 0 where the compiler does not target it.
struct GemmTable {
  const GemmKernel* kernels;
  int count;
};
extern const GemmTable kPortableGemm, kAvx2Gemm, kAvx512VnniGemm, kAmxGemm;

}  // namespace bitfold
