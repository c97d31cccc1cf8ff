// A convolution as products of windows and weights, computed by kernels/gemm. Decides which kernels compute which
// channels, where the runs of a window lie, and which kernel rows can be skipped because they lie over padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitfold/cpu.h"
#include "kernels/conv_images.h"
#include "kernels/packed_filter.h"

namespace bitfold {

struct PrefetchRanges;
struct GemmKernel;

/// Requires a filter that is packed directly and is not depthwise. Immutable.
class GemmConv {
 public:
  /// Calls of run() process at most `panel_rows` rows.
  GemmConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, std::int64_t panel_rows, Isa cap);

  /// See IntegerConv.
  std::size_t scratch_bytes() const;
  std::string kernel_name() const;
  /// `image` and `out` point at the first pixels of the part's image. Some or all of `ahead` is prefetched meanwhile.
  void run(const OutputPart& part, const std::uint8_t* image, std::byte* out, const ConvOutput& output,
           const StepTerms& terms, const PrefetchRanges& ahead, std::byte* scratch) const noexcept;

 private:
  /// The kernel rows [begin, end) of an output row lie over image content. `bias` includes the products of the other
  /// rows.
  struct KernelRows {
    std::int64_t begin, end;
    const std::int32_t* bias;
    bool operator==(const KernelRows&) const = default;
  };
  bool takes_pairs() const;  ///< See GemmKernel::sum_pairs.
  std::int64_t tap_offset(std::int64_t row, std::int64_t column) const;
  void leave_out_padding();
  KernelRows kernel_rows(std::int64_t row) const;
  AlignedArray<std::int32_t> bias_over(const KernelRows& rows) const;

  std::shared_ptr<const PackedFilter> filter_;
  ConvImages images_;
  std::int64_t panel_rows_;
  /// Runs per window and groups per run: the filter's, or more and shorter ones for split images.
  std::int64_t run_count_ = 0, group_count_ = 0;
  std::unique_ptr<std::int64_t[]> run_offsets_;
  std::vector<KernelRows> kernel_rows_;  ///< One per output row; a single entry if rows are merged.
  std::vector<AlignedArray<std::int32_t>> biases_;
  bool merges_rows_ = false;  ///< Rows are contiguous in x and in y and are processed as one long row.
  const GemmKernel* narrow_ = nullptr;
  const GemmKernel* wide_ = nullptr;
};

}  // namespace bitfold
