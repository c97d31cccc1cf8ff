#include "kernels/packed_filter.h"

#include <cassert>
#include <cstdlib>

#include "kernels/gemm/gemm.h"
#include "kernels/sizes.h"
#include "kernels/winograd/winograd.h"

namespace bitfold {
namespace {

constexpr std::int64_t kColumnRows = 4;  // kernel rows per group of a depthwise column

}  // namespace

PackedFilter::PackedFilter(const ConvFilter& filter, const std::int8_t* weights, const std::int32_t* bias,
                           const float* multipliers, FilterForm form, MemoryPieces* memory,
                           const PackedFilter* same_weights)
    : filter_(filter), form_(form) {
  assert(filter.groups > 0 && filter.in_channels % filter.groups == 0 && filter.out_channels % filter.groups == 0);
  // Blocks never mix groups; the blocks of a depthwise convolution consist of consecutive channels.
  const std::int64_t sections = filter.is_depthwise() ? 1 : filter.groups;
  const std::int64_t channels = filter.out_channels / sections;
  block_count_ = divide_up(channels, kBlockChannels);
  if (filter.is_depthwise()) {
    run_count_ = filter.kernel_w;
    run_bytes_ = divide_up(filter.kernel_h, kColumnRows) * kGroupBytes;
  } else {
    const bool adjacent = filter.groups == 1 && filter.dilation_w == 1;
    run_count_ = adjacent ? filter.kernel_h : filter.kernel_h * filter.kernel_w;
    run_bytes_ = (adjacent ? filter.kernel_w : 1) * (filter.in_channels / filter.groups);
  }
  bias_ = zeroed_array<std::int32_t>(sections * block_count_ * kBlockChannels, memory);
  multipliers_ = zeroed_array<float>(sections * block_count_ * kBlockChannels, memory);
  magnitude_bounds_.resize(static_cast<std::size_t>(sections * block_count_ * kBlockChannels));
  for (std::int64_t c = 0; c < filter.out_channels; ++c) {
    const std::int64_t to = c / channels * block_count_ * kBlockChannels + c % channels;
    bias_[static_cast<std::size_t>(to)] = bias == nullptr ? 0 : bias[c];
    multipliers_[static_cast<std::size_t>(to)] = multipliers == nullptr ? 1.0F : multipliers[c];
    // The largest accumulator times the largest float below 1 is still below 2^31 after rounding.
    multipliers_below_one_ &= multipliers_[static_cast<std::size_t>(to)] < 1.0F;
    std::int64_t magnitudes = 0;
    for (std::int64_t k = 0; k < filter.depth(); ++k) magnitudes += std::abs(int{weights[c * filter.depth() + k]});
    magnitude_bounds_[static_cast<std::size_t>(to)] =
        magnitudes * 255 + std::abs(std::int64_t{bias_[static_cast<std::size_t>(to)]});
  }
  if (form == FilterForm::winograd)
    winograd_sums_are_small_ =
        winograd_range(weights, bias, filter.in_channels, filter.out_channels) == WinogradRange::small;
  if (same_weights != nullptr) {
    assert(same_weights->filter_ == filter && same_weights->form_ == form);
    weights_ = same_weights->weights_;
    transformed_ = same_weights->transformed_;
    return;
  }
  if (form == FilterForm::winograd) {
    transformed_ = zeroed_array<std::int16_t>(winograd_weight_count(filter.in_channels, filter.out_channels), memory);
    pack_winograd_weights(weights, filter.in_channels, filter.out_channels, transformed_.get());
    return;
  }
  weights_ = zeroed_array<std::int8_t>(static_cast<std::int64_t>(size_bytes()), memory);
  if (filter.is_depthwise())
    pack_columns(weights);
  else
    pack_runs(weights);
}

std::size_t PackedFilter::size_bytes() const {
  if (form_ == FilterForm::winograd)
    return static_cast<std::size_t>(winograd_weight_count(filter_.in_channels, filter_.out_channels)) *
           sizeof(std::int16_t);
  const std::int64_t sections = filter_.is_depthwise() ? 1 : filter_.groups;
  return static_cast<std::size_t>(sections * block_count_ * run_count_ * group_count() * kGroupWeights);
}

/// Layout of gemm.h: [group][block][run][group of 4][16][4]
void PackedFilter::pack_runs(const std::int8_t* weights) {
  const std::int64_t channels = filter_.out_channels / filter_.groups;
  const std::int64_t run_weights = group_count() * kGroupWeights, block_weights = run_count_ * run_weights;
  for (std::int64_t c = 0; c < filter_.out_channels; ++c) {
    const std::int64_t block = c / channels * block_count_ + c % channels / kBlockChannels;
    const std::int64_t lane = c % channels % kBlockChannels;
    std::int8_t* to = weights_.get() + block * block_weights + lane * kGroupBytes;
    for (std::int64_t r = 0; r < run_count_; ++r)
      for (std::int64_t k = 0; k < run_bytes_; ++k)
        to[r * run_weights + k / kGroupBytes * kGroupWeights + k % kGroupBytes] = *weights++;
  }
}

/// Layout of depthwise.h: [block][column][group of 4 rows][16][4]
void PackedFilter::pack_columns(const std::int8_t* weights) {
  const std::int64_t column_weights = group_count() * kGroupWeights, block_weights = run_count_ * column_weights;
  for (std::int64_t c = 0; c < filter_.out_channels; ++c) {
    std::int8_t* to = weights_.get() + c / kBlockChannels * block_weights + c % kBlockChannels * kGroupBytes;
    for (std::int64_t i = 0; i < filter_.kernel_h; ++i)
      for (std::int64_t j = 0; j < filter_.kernel_w; ++j)
        to[j * column_weights + i / kColumnRows * kGroupWeights + i % kColumnRows] = *weights++;
  }
}

}  // namespace bitfold
