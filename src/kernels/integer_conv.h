// Convolutions and matrix products of u8 codes by s8 weights: the one door to kernels/gemm, depthwise and winograd.
//
//   accumulator[p][c] = bias[c] + sum over taps and channels of x[p + tap][k] * w[c][tap][k]            int32, exact
//
// followed by one of
//
//   int32     y = accumulator
//   float32   y = float(accumulator) * multiplier[c]
//   code      y = requantize(accumulator, multiplier[c], zero_point, qmin, qmax)      invariant 3; then, in this order,
//             y = table[y]                                                            where a table is given
//             y = the code of real(y) + real(residual)                                where a residual is given
//
// Images are NHWC and already padded: padding is bytes of the input's zero point around the image. Depthwise filters
// can do without (ConvImages::bare). The input's zero point itself is folded into the bias by the caller, bias'[c] =
// bias[c] - zero_point * sum w[c]; weights with a zero point of their own are given less that zero point (they must
// still fit int8). A matrix product of M rows is a 1x1 convolution over M pixels: out_height = M, out_width = 1, so
// that rows can be split among threads.
//
// Every instruction set gives the same bytes. Every intermediate sum must fit int32 in any order of summation, which
// sum |w| * 255 + |bias'| < 2^31 guarantees. Kernels may read, but never use, up to kOverread bytes past the image.
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

/// The form that takes the least time over such images; a pure function of its arguments. The result is the same bytes.
FilterForm best_filter_form(const ConvFilter& filter, const std::int8_t* weights, const ConvImages& images, Isa cap);
/// Its two halves: whether the Winograd form takes less time over such images, and whether it is exact for such
/// weights.
bool winograd_is_faster(const ConvFilter& filter, const ConvImages& images, Isa cap);
bool fits_winograd(const ConvFilter& filter, const std::int8_t* weights);

/// What turns the accumulators of a filter into outputs quickly. It does not depend on the images, and takes
/// microseconds a channel to find, so convolutions share it.
struct OutputTerms {
  OutputTerms(const PackedFilter& filter, const ConvOutput& output, Isa cap);

  QuickSteps quick_steps;
  BinaryGrids sum;  ///< Of the product and the residual, where one is added.
};

struct DepthwiseKernel;
struct WinogradKernel;

/// A filter over images of one size on one instruction set. Immutable: may run on many threads at once.
class IntegerConv {
 public:
  /// `cap` must not exceed what the CPU has. `terms` are those of the filter, output and cap; null: made here.
  IntegerConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, const ConvOutput& output, Isa cap,
              std::shared_ptr<const OutputTerms> terms = nullptr);

  /// Independent units of work, for splitting among threads: rows of output, or a few of them.
  std::int64_t unit_count() const { return images_.batch * units_per_image(); }
  std::int64_t units_per_image() const;
  /// Units whose input and output fit the cache together; at least 1.
  std::int64_t units_per_panel() const;
  /// The first row of an image of x that its units from `begin` on read, and the end of those that units below `end`
  /// read.
  std::int64_t first_row_read(std::int64_t begin) const;
  std::int64_t rows_read(std::int64_t end) const;
  /// Bytes of memory, aligned to 64, that each thread needs for itself while it runs. May be 0.
  std::size_t scratch_bytes() const;
  /// Units [begin, end). `y` points at int32, float or u8 as the output's kind says; `residual` may be null where none
  /// is added, and must not be y itself. Allocates nothing.
  void run(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
           std::byte* scratch) const noexcept {
    run_part_of(begin, end, x, y, residual, begin, end, scratch);
  }
  /// The same, as a part of the units [all_begin, all_end) that the calling thread does: of what is to be fetched
  /// meanwhile, it fetches its part.
  void run_part_of(std::int64_t all_begin, std::int64_t all_end, const std::uint8_t* x, void* y,
                   const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                   std::byte* scratch) const noexcept;
  /// Another way to split the same work among threads, by channels of output: of use where there are far more weights
  /// than pixels, as each thread reads all pixels then, but only its own channels' weights. 0 units: this cannot be
  /// done.
  std::int64_t channel_unit_count() const;
  /// Whether that is the better way for so many threads.
  bool splits_by_channels(int threads) const;
  /// Channel units [begin, end) of one image; otherwise as run().
  void run_channels(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t image,
                    std::int64_t begin, std::int64_t end, std::byte* scratch) const noexcept;
  /// Weights that will be read soon after, by each thread all of them or its own part: while this runs, the first of
  /// them are brought closer, behind the last of its own.
  void fetch_ahead(std::span<const std::byte> next_weights, bool is_shared_out) {
    next_weights_ = next_weights;
    next_is_shared_out_ = is_shared_out;
  }
  std::span<const std::byte> weights() const;
  /// "gemm.avx512vnni 14x32", "depthwise.avx2"
  std::string kernel_name() const;

 private:
  std::int64_t unit_rows() const;
  /// All rows of units [begin, end), such channels of them; `ahead` is what to fetch meanwhile.
  void run_units(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                 std::int64_t channel_begin, std::int64_t channel_end, const FetchAhead& ahead,
                 std::byte* scratch) const noexcept;
  void run_part(const OutputPart& part, const std::uint8_t* x, void* y, const FetchAhead& ahead,
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
