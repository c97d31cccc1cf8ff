// Convolutions and matrix products of u8 codes by s8 weights. The only entry to kernels/gemm, depthwise and winograd.
//
//   accumulator[p][c] = bias[c] + sum over taps and channels of x[p + tap][k] * w[c][tap][k]            int32, exact
//
// followed by one of
//
//   int32     y = accumulator
//   float32   y = float(accumulator) * multiplier[c]
//   code      y = requantize(accumulator, multiplier[c], zero_point, qmin, qmax)      invariant 3; then, in this order,
//             y = table[y]                                                            if there is a table
//             y = the code of real(y) + real(residual)                                if there is a residual
//
// Images are NHWC and already padded with bytes of the input's zero point. Depthwise filters also accept images without
// a border (ConvImages::unpadded). The caller folds the input's zero point into the bias, bias'[c] = bias[c] -
// zero_point * sum w[c], and subtracts the zero points of weights from the weights, which must still fit int8. A matrix
// product of M rows is a 1x1 convolution over M pixels with out_height = M and out_width = 1, so that its rows can be
// divided among threads.
//
// Every instruction set gives the same bytes. Every intermediate sum must fit int32 in any order of summation, which
// sum |w| * 255 + |bias'| < 2^31 guarantees. Kernels may read up to kOverread bytes past the image but never use them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bitfold/cpu.h"
#include "kernels/conv_images.h"
#include "kernels/conv_output.h"
#include "kernels/gemm_conv.h"
#include "kernels/packed_filter.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/quick_steps.h"

namespace bitfold {

/// The fastest form for such images; a pure function of its arguments. All forms give the same bytes.
FilterForm best_filter_form(const ConvFilter& filter, const std::int8_t* weights, const ConvImages& images, Isa cap);
/// The two conditions for the Winograd form: it is faster on such images, and exact for such weights.
bool winograd_is_faster(const ConvFilter& filter, const ConvImages& images, Isa cap);
bool fits_winograd(const ConvFilter& filter, const std::int8_t* weights);

/// Constants for fast conversion of a filter's accumulators to outputs. They do not depend on the images and take
/// microseconds per channel to compute, so convolutions share them.
struct OutputTerms {
  OutputTerms(const PackedFilter& filter, const ConvOutput& output, Isa cap);

  QuickSteps quick_steps;
  BinaryGrids sum;  ///< Grids of the product and the residual, if one is added.
};

struct DepthwiseKernel;
struct WinogradKernel;

/// A filter prepared for images of one size and one instruction set. Immutable, so several threads may run it at once.
class IntegerConv {
 public:
  /// `cap` must not exceed what the CPU has. `terms` are those of the filter, output and cap; null: made here.
  IntegerConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, const ConvOutput& output, Isa cap,
              std::shared_ptr<const OutputTerms> terms = nullptr);

  /// Number of independent units of work, which can be divided among threads: one or a few rows of output each.
  std::int64_t unit_count() const { return images_.batch * units_per_image(); }
  std::int64_t units_per_image() const;
  /// Units whose input and output fit the second-level cache together; at least 1.
  std::int64_t units_per_panel() const;
  /// The range of input rows that units [begin, end) of an image read.
  std::int64_t first_row_read(std::int64_t begin) const;
  std::int64_t rows_read(std::int64_t end) const;
  /// Bytes of scratch memory, aligned to 64, that each running thread needs. May be 0.
  std::size_t scratch_bytes() const;
  /// Runs units [begin, end). `y` points at int32, float or u8, according to the output's kind. `residual` is null if
  /// none is added, and must not be y itself. Allocates nothing.
  void run(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
           std::byte* scratch) const noexcept {
    run_part_of(begin, end, x, y, residual, begin, end, scratch);
  }
  /// The same for a part of the units [all_begin, all_end) assigned to the calling thread, which also prefetches its
  /// share of the memory to prefetch.
  void run_part_of(std::int64_t all_begin, std::int64_t all_end, const std::uint8_t* x, void* y,
                   const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                   std::byte* scratch) const noexcept;
  /// Units of work when dividing by output channels instead of rows. Useful if there are far more weights than pixels:
  /// each thread then reads all pixels but only its own channels' weights. 0: not supported for this convolution.
  std::int64_t channel_unit_count() const;
  /// Whether dividing by channels is faster for that number of threads.
  bool splits_by_channels(int threads) const;
  /// Runs channel units [begin, end) of one image; otherwise as run().
  void run_channels(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t image,
                    std::int64_t begin, std::int64_t end, std::byte* scratch) const noexcept;
  /// Sets the weights of the next layer, which this convolution prefetches after its own weights. Each thread
  /// prefetches all of them, or its own part if `is_shared_out`.
  void fetch_ahead(std::span<const std::byte> next_weights, bool is_shared_out) {
    next_weights_ = next_weights;
    next_is_shared_out_ = is_shared_out;
  }
  std::span<const std::byte> weights() const;
  /// "gemm.avx512vnni 14x32", "depthwise.avx2"
  std::string kernel_name() const;

 private:
  std::int64_t unit_rows() const;
  /// Runs all rows of units [begin, end) for channels [channel_begin, channel_end); prefetches `ahead`.
  void run_units(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                 std::int64_t channel_begin, std::int64_t channel_end, const PrefetchRanges& ahead,
                 std::byte* scratch) const noexcept;
  void run_part(const OutputPart& part, const std::uint8_t* x, void* y, const PrefetchRanges& ahead,
                std::byte* scratch) const noexcept;
  void run_depthwise(const OutputPart& part, const std::uint8_t* image, std::byte* out) const noexcept;
  void finish(std::uint8_t* y, const std::uint8_t* residual, const OutputPart& part) const noexcept;

  std::shared_ptr<const PackedFilter> filter_;
  ConvImages images_;
  ConvOutput output_;
  std::shared_ptr<const OutputTerms> terms_;
  std::int64_t panel_rows_ = 1;
  std::optional<GemmConv> products_;
  const DepthwiseKernel* depthwise_ = nullptr;
  const WinogradKernel* winograd_ = nullptr;
  const PointwiseKernels* pointwise_ = nullptr;
  std::span<const std::byte> next_weights_;
  bool next_is_shared_out_ = false;
};

}  // namespace bitfold
