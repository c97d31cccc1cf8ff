// The weights of an integer convolution in the order in which kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/aligned_array.h"

namespace bitfold {

/// The shape of the weights, independent of the image. Both channel counts include all groups.
struct ConvFilter {
  std::int64_t out_channels = 1, in_channels = 1, groups = 1;
  std::int64_t kernel_h = 1, kernel_w = 1;
  std::int64_t dilation_h = 1, dilation_w = 1;
  auto operator<=>(const ConvFilter&) const = default;

  /// One input channel and one output channel per group; computed by depthwise/ instead of gemm/.
  bool is_depthwise() const { return groups > 1 && groups == in_channels && groups == out_channels; }
  /// Products summed into one accumulator.
  std::int64_t depth() const { return kernel_h * kernel_w * (in_channels / groups); }
};

/// How weights are packed. `direct`: one layout for every instruction set (gemm/gemm.h, depthwise/depthwise.h).
/// `winograd`: transformed (winograd/winograd.h), which is faster on some instruction sets.
enum class FilterForm { direct, winograd };

/// Weights, biases and multipliers in the order in which kernels read them. Immutable; convolutions may share one.
class PackedFilter {
 public:
  /// `weights` is [out_channels][kernel_h][kernel_w][in_channels / groups]; `bias` and `multipliers` have one entry per
  /// output channel (null bias: zeros; null multipliers: ones). `form` is the result of best_filter_form(), or direct.
  /// Allocates from `memory` if it is given. `same_weights`, a filter of the same shape, form and weights, lends its
  /// packed weights if it is given.
  PackedFilter(const ConvFilter& filter, const std::int8_t* weights, const std::int32_t* bias, const float* multipliers,
               FilterForm form = FilterForm::direct, MemoryPieces* memory = nullptr,
               const PackedFilter* same_weights = nullptr);

  FilterForm form() const { return form_; }
  const ConvFilter& filter() const { return filter_; }
  /// Number of runs of adjacent bytes in a window, and bytes per run.
  std::int64_t run_count() const { return run_count_; }
  std::int64_t run_bytes() const { return run_bytes_; }
  /// Groups of 4 bytes per run.
  std::int64_t group_count() const { return (run_bytes_ + 3) / 4; }
  /// Blocks of 16 output channels per group of the convolution.
  std::int64_t block_count() const { return block_count_; }
  std::size_t size_bytes() const;
  bool multipliers_below_one() const { return multipliers_below_one_; }
  /// Largest possible magnitude of the accumulators, 16 per block.
  std::span<const std::int64_t> magnitude_bounds() const { return magnitude_bounds_; }

  const std::int8_t* weights() const { return weights_.get(); }                ///< Null unless the form is direct.
  const std::int16_t* winograd_weights() const { return transformed_.get(); }  ///< Null unless the form is winograd.
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
  std::vector<std::int64_t> magnitude_bounds_;
  AlignedArray<std::int8_t> weights_;
  AlignedArray<std::int16_t> transformed_;
  AlignedArray<std::int32_t> bias_;
  AlignedArray<float> multipliers_;
};

}  // namespace bitfold
