// The matrix product inside a convolution: mr pixels times nr output channels in registers.
//
// A convolution over NHWC needs no im2col. The window of an output pixel is a few runs of adjacent bytes: one run per
// kernel row if the taps of a row are adjacent (one group, no horizontal dilation), else one per tap.
//
//        image row 0   . . . [ k k k k k k k k k ] . . .    run 0: kernel_w * channels bytes
//        image row 1   . . . [ k k k k k k k k k ] . . .    run 1
//                             ^ x + pixel * pixel_stride + run_offsets[1]
//
// A run is read in groups of 4 bytes, as vpdpbusd multiplies them. If its length is not a multiple of 4, the last group
// extends into the bytes that follow, and the weights there are 0.
//
// Packed weights are int8 and the same for every instruction set. 64 bytes hold 4 products of each of 16 output
// channels:
//
//        [block of 16 output channels][run][group of 4] [channel 0: k0 k1 k2 k3] ... [channel 15: k0 k1 k2 k3]
//
// Unused channels and groups are zeros. So a block is run_count * group_count * 64 bytes, and 32 output channels are
// two blocks read side by side.
//
// Winograd's inner product (Winograd 1968, "A New Algorithm for Inner Product") halves the multiplications:
//
//   x0 w0 + x1 w1  =  (x0 + w1) (x1 + w0)  -  x0 x1  -  w0 w1
//
// The last term is a sum over a channel's weights and is subtracted from its bias in advance. The term before it is a
// sum over a pixel's window and is computed once for all channels. All of this is exact modulo 2^32, and so is the
// accumulator, which fits int32.
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
/// Maximum number of pixels in an AMX tile.
constexpr std::int64_t kTilePixels = 16;

/// Prefetch distance of weights, in bytes. Measured on ResNet-50: the second-level cache keeps this much beside pixels
/// and the current weights; at 1.5 times the distance, some lines are evicted before they are used.
constexpr std::int64_t kPrefetchDistance = 256 * 1024;

/// Plain pointers, because files compiled for one instruction set read them.
struct MemoryRange {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;

  /// See PrefetchRanges.
  MemoryRange share(std::int64_t begin_part, std::int64_t end_part, std::int64_t count) const;
};

/// Memory that will be read soon and is prefetched during computation: first the rest of the current weights, then the
/// next weights.
struct PrefetchRanges {
  MemoryRange own, next;

  /// The share of parts [begin, end) of `count` equal parts, where `own` comes first; the last part may be shorter.
  PrefetchRanges share(std::int64_t begin, std::int64_t end, std::int64_t count) const;
  /// The share of passes [begin, end) of `count`: the first pass reads all current weights.
  PrefetchRanges share_passes(std::int64_t begin, std::int64_t end, std::int64_t count) const;
};

/// One product: pixels at a fixed stride, or rows of them, times up to nr output channels.
struct GemmTask {
  const std::uint8_t* x = nullptr;            ///< The first pixel's window.
  std::int64_t pixel_stride = 0;              ///< Bytes.
  std::int64_t pixel_count = 0;               ///< Pixels in a row.
  std::int64_t row_count = 1;                 ///< Above 1 only for kernels with takes_rows.
  std::int64_t x_row = 0;                     ///< Bytes from one row to the next.
  const std::int64_t* run_offsets = nullptr;  ///< Bytes from a window's start to each of its runs.
  std::int64_t run_count = 0, group_count = 0;
  const std::int8_t* weights = nullptr;  ///< The first block's first run.
  std::int64_t block_weights = 0;        ///< Bytes from one block to the next, including runs that are skipped.
  /// 16 per block, as are the multipliers. Without w0 w1 for kernels with sum_pairs.
  const std::int32_t* bias = nullptr;
  const std::int32_t* x_pairs = nullptr;  ///< One per pixel, written by sum_pairs(); only for kernels that have it.
  const float* multipliers = nullptr;
  StepTerms terms;
  std::int64_t channel_count = 0;  ///< 1 .. nr
  void* y = nullptr;
  std::int64_t y_stride = 0;  ///< Elements from one pixel to the next.
  std::int64_t y_row = 0;     ///< Elements from one row to the next.
  const ConvOutput* output = nullptr;
  PrefetchRanges ahead;    ///< Prefetched by kernels that compute more than they load.
  bool steps_fit = false;  ///< Every multiplier is below 1, so that accumulator * multiplier stays within int32.
};

/// A kernel handles any number of pixels: mr at a time, then fewer.
struct GemmKernel {
  const char* name;  ///< "avx512vnni 14x32"
  Isa isa;
  int mr, nr;  ///< nr may be 8, for products of at most 8 channels.
  void (*run)(const GemmTask& task) noexcept;
  /// Null unless the kernel takes pairs. Writes x0 x1 + x2 x3 + ... over all groups of each pixel's window.
  void (*sum_pairs)(const GemmTask& task, std::int32_t* pairs) noexcept = nullptr;
  bool takes_rows = false;  ///< Accepts many rows in a call; for kernels with an overhead per call.
  /// Maximum bytes of weights in a call, but at least two blocks. A kernel that sets it also prefetches. 0: no limit
  /// and no prefetching.
  std::int64_t max_weight_bytes = 0;
};

/// Every kernel in this build, slowest instruction set first. The CPU may not support all of them.
std::span<const GemmKernel> gemm_kernels();

/// The size of a product, for the choice of a kernel.
struct GemmSize {
  std::int64_t pixel_count = 1, channel_count = 1;
  std::int64_t run_count = 1, group_count = 1;
  std::int64_t row_count = 1;       ///< Number of separate rows of pixel_count pixels.
  std::optional<bool> takes_pairs;  ///< If set, only kernels that take pairs, or only those that do not.
};

/// Groups per chunk when AMX cuts a run into chunks of equal size: the largest divisor of group_count that fits a tile.
std::int64_t amx_chunk_groups(std::int64_t group_count);

/// The best kernel for a size; a pure function of its arguments.
const GemmKernel& select_gemm_kernel(const GemmSize& size, Isa cap);

/// Whether skipping padded kernel rows for one row of pixels saves more than the extra call costs. `pixels_in_all` are
/// all pixels of the product.
bool separate_call_pays(const GemmKernel& kernel, const GemmSize& left_out, std::int64_t pixels_in_all);

// The kernels of one instruction set as plain arrays, because a file compiled for an instruction set must not
// instantiate shared inline functions. `count` is 0 if the compiler does not target the instruction set.
struct GemmTable {
  const GemmKernel* kernels;
  int count;
};
extern const GemmTable kPortableGemm, kAvx2Gemm, kAvx512VnniGemm, kAmxGemm;

}  // namespace bitfold
