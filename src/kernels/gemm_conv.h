// A convolution as products of windows and weights, through kernels/gemm: which kernels take which channels, where the
// runs of a window lie, and which kernel rows need not be multiplied because only padding lies under them.
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

struct FetchAhead;
struct GemmKernel;

/// Of a filter that is packed directly and not depthwise. Immutable.
class GemmConv {
 public:
  /// Calls of run() are of `panel_rows` rows at most.
  GemmConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, std::int64_t panel_rows, Isa cap);

  /// See IntegerConv.
  std::size_t scratch_bytes() const;
  std::string kernel_name() const;
  /// `image` and `out` are the first pixels of the part's image; `ahead` is brought closer meanwhile,
  /// or some of it.
  void run(const OutputPart& part, const std::uint8_t* image, std::byte* out, const ConvOutput& output,
           const StepTerms& terms, const FetchAhead& ahead, std::byte* scratch) const noexcept;

 private:
  /// What an output row is multiplied with: kernel rows [begin, end), which lie over the image's content, and the
  /// biases, to which the products of the others are added.
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
  std::int64_t run_count_ = 0, group_count_ = 0;  ///< The filter's, or more and shorter runs of split images.
  std::unique_ptr<std::int64_t[]> run_offsets_;
  std::vector<KernelRows> kernel_rows_;  ///< Per output row; one for all where rows are merged.
  std::vector<AlignedArray<std::int32_t>> biases_;
  bool merges_rows_ = false;  ///< Rows follow each other without a gap, in x and in y: one long row.
  const GemmKernel* narrow_ = nullptr;
  const GemmKernel* wide_ = nullptr;
};

}  // namespace bitfold
