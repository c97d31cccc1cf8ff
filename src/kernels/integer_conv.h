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
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "bitfold/cpu.h"
#include "kernels/conv_output.h"
#include "kernels/pointwise/pointwise.h"

namespace bitfold {

/// Bytes after an input image that must be readable; their values do not matter.
constexpr std::int64_t kOverread = 64;

/// Begins at a multiple of 64 bytes, so that no row of 16 words or 64 bytes lies across two cache lines.
template <class T>
using AlignedArray = std::shared_ptr<T[]>;

/// What the weights are, whatever image they run over. Both channel counts are of all groups together.
struct ConvFilter {
  std::int64_t out_channels = 1, in_channels = 1, groups = 1;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  bool operator==(const ConvFilter&) const = default;

  /// One channel in, one channel out, per group: runs in depthwise/ instead of gemm/.
  bool is_depthwise() const { return groups > 1 && groups == in_channels && groups == out_channels; }
  /// Products summed into one accumulator.
  std::int64_t depth() const { return kernel_h * kernel_w * (in_channels / groups); }
};

/// Elements from one image, row and pixel to the next. Channels of a pixel are adjacent.
struct ImageStrides {
  std::int64_t image = 0, row = 0, pixel = 0;
};

/// An image without its border. `height` 0: there is none, the border is where images usually have it.
struct BareImage {
  std::int64_t height = 0, width = 0;
  std::int64_t pad_top = 0, pad_left = 0;
};

/// Over which images a filter runs. The pixel stride of x must be the filter's in_channels.
struct ConvImages {
  std::int64_t batch = 1, out_height = 1, out_width = 1;
  std::int64_t stride_h = 1, stride_w = 1;
  ImageStrides x;         ///< Of the padded input, whose first pixel is the first tap of the first output pixel.
  ImageStrides y;         ///< Of the output, in its elements: it may itself be the inside of a padded image.
  ImageStrides residual;  ///< Where one is added.
  /// Rows of the padded input before `content_begin` and from `content_end` on hold padding only, the code `padding`:
  /// kernel rows over them need not be multiplied. The default says nothing about padding.
  std::int64_t content_begin = 0, content_end = std::numeric_limits<std::int64_t>::max();
  std::uint8_t padding = 0;
  /// Where `image` > 0: pixels of x are dealt out by the strides, (h, w) to pixel (h / stride_h, w / stride_w) of image
  /// (h % stride_h, w % stride_w) of rows x columns such (see image_form.h). Strides of x are those within one of them.
  struct Split {
    std::int64_t rows = 1, columns = 1;
    std::int64_t image = 0;  ///< Elements from one of them to the next, row by row.
  } split;
  /// Of depthwise filters only: x is the image alone, and so are its strides; taps outside it count as `padding`.
  BareImage bare;
};

/// How weights are packed: as they are, one layout for every instruction set (gemm/gemm.h, depthwise/depthwise.h), or
/// transformed (winograd/winograd.h), which some instruction sets run faster.
enum class FilterForm { direct, winograd };

/// The form that takes the least time over such images; a pure function of its arguments. The result is the same bytes.
FilterForm best_filter_form(const ConvFilter& filter, const std::int8_t* weights, const ConvImages& images, Isa cap);

/// Weights, biases and multipliers in the order the kernels stream them. Immutable; share one among many convolutions.
class PackedFilter {
 public:
  /// `weights` [out_channels][kernel_h][kernel_w][in_channels / groups]; `bias` and `multipliers` one per output
  /// channel (bias may be null: zeros; multipliers null: ones). `form` is what best_filter_form() says, or direct.
  /// Takes pieces of `memory` where that is given.
  PackedFilter(const ConvFilter& filter, const std::int8_t* weights, const std::int32_t* bias, const float* multipliers,
               FilterForm form = FilterForm::direct, MemoryPieces* memory = nullptr);

  FilterForm form() const { return form_; }
  const ConvFilter& filter() const { return filter_; }
  /// Runs of adjacent bytes that make up a window, and how many bytes each.
  std::int64_t run_count() const { return run_count_; }
  std::int64_t run_bytes() const { return run_bytes_; }
  /// Groups of 4 bytes per run.
  std::int64_t group_count() const { return (run_bytes_ + 3) / 4; }
  /// Blocks of 16 output channels per group of the convolution.
  std::int64_t block_count() const { return block_count_; }
  std::size_t size_bytes() const;
  bool multipliers_below_one() const { return multipliers_below_one_; }

  const std::int8_t* weights() const { return weights_.get(); }                ///< Of the direct form, else null.
  const std::int16_t* winograd_weights() const { return transformed_.get(); }  ///< Of that form, else null.
  bool winograd_sums_are_small() const { return winograd_sums_are_small_; }    ///< See WinogradRange.
  const std::int32_t* bias() const { return bias_.get(); }                     ///< 16 per block
  const float* multipliers() const { return multipliers_.get(); }              ///< 16 per block

 private:
  void pack_runs(const std::int8_t* weights);
  void pack_columns(const std::int8_t* weights);

  ConvFilter filter_;
  FilterForm form_;
  std::int64_t run_count_ = 0, run_bytes_ = 0, block_count_ = 0;
  bool multipliers_below_one_ = true, winograd_sums_are_small_ = false;
  AlignedArray<std::int8_t> weights_;
  AlignedArray<std::int16_t> transformed_;
  AlignedArray<std::int32_t> bias_;
  AlignedArray<float> multipliers_;
};

struct GemmKernel;
struct DepthwiseKernel;
struct WinogradKernel;

/// A filter over images of one size on one instruction set. Immutable: may run on many threads at once.
class IntegerConv {
 public:
  /// `cap` must not exceed what the CPU has.
  IntegerConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, const ConvOutput& output, Isa cap);

  /// Independent units of work, for splitting among threads: rows of output, or a few of them.
  std::int64_t unit_count() const { return images_.batch * units_per_image(); }
  std::int64_t units_per_image() const;
  /// Units whose input and output fit the cache together; at least 1.
  std::int64_t units_per_panel() const;
  /// Rows of an image of x, from its first on, that its units below `end` read.
  std::int64_t rows_read(std::int64_t end) const;
  /// Bytes of memory, aligned to 64, that each thread needs for itself while it runs. May be 0.
  std::size_t scratch_bytes() const;
  /// Units [begin, end). `y` points at int32, float or u8 as the output's kind says; `residual` may be null where none
  /// is added, and may be y itself. Allocates nothing.
  void run(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
           std::byte* scratch) const noexcept;
  /// Another way to split the same work among threads, by channels of output: of use where there are more weights than
  /// pixels, as each thread reads all pixels then, but only its own channels' weights. 0 units: this cannot be done.
  std::int64_t channel_unit_count() const;
  bool has_more_weights_than_pixels() const;
  /// Channel units [begin, end) of all images; otherwise as run().
  void run_channels(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                    std::byte* scratch) const noexcept;
  /// Memory that will be read soon after: some of it may be brought closer while this runs.
  void fetch_ahead(std::span<const std::byte> memory) { ahead_ = memory; }
  std::span<const std::byte> weights() const;
  /// "gemm.avx512vnni 14x32", "depthwise.avx2"
  std::string kernel_name() const;

 private:
  struct Segment;
  /// What an output row is multiplied with: kernel rows [begin, end), which lie over the image's content, and the
  /// biases, to which the products of the others are added.
  struct KernelRows {
    std::int64_t begin, end;
    const std::int32_t* bias;
    bool operator==(const KernelRows&) const = default;
  };
  bool takes_pairs() const;  ///< See GemmKernel::sum_pairs.
  std::int64_t unit_rows() const;
  void select_products(Isa cap);
  /// Elements of x from one output row, and pixel, to the next.
  std::int64_t row_step() const { return images_.x.row * (images_.split.image > 0 ? 1 : images_.stride_h); }
  std::int64_t pixel_step() const { return images_.x.pixel * (images_.split.image > 0 ? 1 : images_.stride_w); }
  std::int64_t tap_offset(std::int64_t row, std::int64_t column) const;
  void leave_out_padding();
  KernelRows kernel_rows(std::int64_t row) const;
  AlignedArray<std::int32_t> bias_over(const KernelRows& rows) const;
  /// All rows of units [begin, end), the segment's channels of them.
  void run_units(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                 std::int64_t channel_begin, std::int64_t channel_end, std::byte* scratch) const noexcept;
  void run_segment(const Segment& segment, const std::uint8_t* x, void* y, std::byte* scratch) const noexcept;
  void run_depthwise(const Segment& segment, const std::uint8_t* image, std::byte* out) const noexcept;
  void run_products(const Segment& segment, const std::uint8_t* from, std::byte* to,
                    std::int32_t* pairs) const noexcept;
  void finish(std::uint8_t* y, const std::uint8_t* residual, const Segment& segment) const noexcept;

  std::shared_ptr<const PackedFilter> filter_;
  ConvImages images_;
  ConvOutput output_;
  std::int64_t run_count_ = 0, group_count_ = 0;  ///< The filter's, or more and shorter runs of split images.
  std::unique_ptr<std::int64_t[]> run_offsets_;
  std::vector<KernelRows> kernel_rows_;  ///< Per output row; one for all where rows are merged.
  std::vector<AlignedArray<std::int32_t>> biases_;
  bool merges_rows_ = false;  ///< Rows follow each other without a gap, in x and in y: one long row.
  std::int64_t panel_rows_ = 1;
  const GemmKernel* narrow_ = nullptr;
  const GemmKernel* wide_ = nullptr;
  const DepthwiseKernel* depthwise_ = nullptr;
  const WinogradKernel* winograd_ = nullptr;
  const PointwiseKernels* pointwise_ = nullptr;
  std::span<const std::byte> ahead_;
  BinaryGrids sum_;  ///< Of the product and the residual, where one is added.
};

}  // namespace bitfold
