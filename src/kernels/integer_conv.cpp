#include "kernels/integer_conv.h"

#include <algorithm>
#include <cassert>

#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sizes.h"
#include "kernels/winograd/winograd.h"

namespace bitfold {
namespace {

// a multiple of the channels that kernels process at a time, except those on tiles
constexpr std::int64_t kChannelUnit = 64;
// The input and output of a panel of rows stay in the second-level cache (1 MiB on Zen 4, 512 KiB before it), together
// with the weights of a block of channels, while all blocks are applied.
constexpr std::int64_t kPanelBytes = 256 * 1024;
// CPUs with AMX have 2 MiB. Measured: every further panel of a layer that adds residuals takes some 4 us.
constexpr std::int64_t kTilePanelBytes = 1024 * 1024;

MemoryRange range_of(std::span<const std::byte> memory) { return {memory.data(), memory.data() + memory.size()}; }

/// The memory to prefetch: the part of `own` that the layer before has not prefetched, then `next`.
PrefetchRanges fetch_ahead_of(const MemoryRange& own, const MemoryRange& next) {
  return {{own.begin + std::min(own.end - own.begin, kPrefetchDistance), own.end},
          {next.begin, next.begin + std::min(next.end - next.begin, kPrefetchDistance)}};
}

}  // namespace

bool winograd_is_faster(const ConvFilter& f, const ConvImages& images, Isa cap) {
  const bool is_3x3 = f.kernel_h == 3 && f.kernel_w == 3 && f.groups == 1 && f.dilation_h == 1 && f.dilation_w == 1 &&
                      images.stride_h == 1 && images.stride_w == 1;
  return is_3x3 && select_winograd_kernel(cap) != nullptr &&
         winograd_pays(f.in_channels, f.out_channels, images.out_height, images.out_width);
}

bool fits_winograd(const ConvFilter& f, const std::int8_t* weights) {
  return f.kernel_h == 3 && f.kernel_w == 3 && f.groups == 1 &&
         winograd_range(weights, nullptr, f.in_channels, f.out_channels) != WinogradRange::too_large;
}

FilterForm best_filter_form(const ConvFilter& f, const std::int8_t* weights, const ConvImages& images, Isa cap) {
  return winograd_is_faster(f, images, cap) && fits_winograd(f, weights) ? FilterForm::winograd : FilterForm::direct;
}

OutputTerms::OutputTerms(const PackedFilter& filter, const ConvOutput& output, Isa cap) {
  // The portable and the Winograd kernels do not use step terms.
  if (cap > Isa::portable && filter.form() == FilterForm::direct)
    quick_steps =
        QuickSteps({filter.multipliers(), filter.magnitude_bounds().size()}, filter.magnitude_bounds(), output);
  if (output.has_residual)
    sum = prepared(pointwise_kernels(cap), CodeBinary::add, {output.add.product, output.add.residual, output.add.sum});
}

IntegerConv::IntegerConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, const ConvOutput& output,
                         Isa cap, std::shared_ptr<const OutputTerms> terms)
    : filter_(std::move(filter)),
      images_(images),
      output_(output),
      terms_(std::move(terms)),
      pointwise_(&pointwise_kernels(cap)) {
  if (terms_ == nullptr) terms_ = std::make_shared<const OutputTerms>(*filter_, output_, cap);
  assert(images.x.pixel == filter_->filter().in_channels);
  assert(images.unpadded.height == 0 || filter_->filter().is_depthwise());
  const std::int64_t row_bytes = images_.row_step() * images_.split.rows * images_.split.columns +
                                 images_.out_width * images_.y.pixel * element_bytes(output.kind);
  const std::int64_t panel_bytes = cap >= Isa::amx && !filter_->filter().is_depthwise() ? kTilePanelBytes : kPanelBytes;
  panel_rows_ = std::clamp<std::int64_t>(panel_bytes / std::max<std::int64_t>(1, row_bytes), 1, images_.out_height);
  if (filter_->filter().is_depthwise()) {
    depthwise_ = &select_depthwise_kernel(cap);
    return;
  }
  if (filter_->form() == FilterForm::winograd) {
    winograd_ = select_winograd_kernel(cap);
    assert(winograd_ != nullptr);
    // Enough rows of tiles for one pass over the weights.
    const std::int64_t tiles_wide = divide_up(images_.out_width, kWinogradTile);
    panel_rows_ = std::max(panel_rows_ / kWinogradTile, divide_up(kWinogradMaxTiles, tiles_wide)) * kWinogradTile;
    return;
  }
  products_.emplace(filter_, images_, panel_rows_, cap);
}

std::int64_t IntegerConv::unit_rows() const { return winograd_ != nullptr ? kWinogradTile : 1; }

std::int64_t IntegerConv::units_per_image() const { return divide_up(images_.out_height, unit_rows()); }

std::int64_t IntegerConv::units_per_panel() const { return panel_rows_ / unit_rows(); }

std::int64_t IntegerConv::first_row_read(std::int64_t begin) const { return begin * unit_rows() * images_.stride_h; }

std::int64_t IntegerConv::rows_read(std::int64_t end) const {
  const ConvFilter& f = filter_->filter();
  const std::int64_t last = std::min(end * unit_rows(), images_.out_height) - 1;
  return last * images_.stride_h + window_extent(f.kernel_h, f.dilation_h);
}

std::size_t IntegerConv::scratch_bytes() const {
  if (winograd_ != nullptr) return winograd_scratch_bytes(filter_->filter().in_channels);
  return products_ ? products_->scratch_bytes() : 0;
}

std::span<const std::byte> IntegerConv::weights() const {
  const void* packed = filter_->weights();
  if (packed == nullptr) packed = filter_->winograd_weights();
  return {static_cast<const std::byte*>(packed), filter_->size_bytes()};
}

std::string IntegerConv::kernel_name() const {
  if (winograd_ != nullptr) return std::string("winograd.") + winograd_->name;
  if (depthwise_ != nullptr) return std::string("depthwise.") + depthwise_->name;
  return "gemm." + products_->kernel_name();
}

std::int64_t IntegerConv::channel_unit_count() const {
  const ConvFilter& f = filter_->filter();
  return !products_ || f.groups != 1 ? 0 : divide_up(f.out_channels, kChannelUnit);
}

bool IntegerConv::splits_by_channels(int threads) const {
  if (threads < 2 || channel_unit_count() == 0) return false;
  // The busiest thread's share of the work.
  const auto largest_part = [&](std::int64_t units) {
    return static_cast<double>(divide_up(units, threads)) / static_cast<double>(units);
  };
  const double of_pixels = largest_part(unit_count()), of_channels = largest_part(channel_unit_count());
  if (of_channels > of_pixels) return false;
  // Weights come from a shared cache and are prefetched. Pixels come from the cache of the core that has just written
  // them, which takes much longer. Measured on ResNet-50: splitting by pixels is better with up to 16 times as many
  // weights as pixels.
  constexpr std::int64_t kMinWeightsPerPixel = 16;
  const std::int64_t pixels = images_.batch * images_.out_height * images_.row_step();
  const bool is_more_even = of_channels < 0.9 * of_pixels;
  return is_more_even || static_cast<std::int64_t>(filter_->size_bytes()) > kMinWeightsPerPixel * pixels;
}

void IntegerConv::run_part_of(std::int64_t all_begin, std::int64_t all_end, const std::uint8_t* x, void* y,
                              const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                              std::byte* scratch) const noexcept {
  const ConvFilter& f = filter_->filter();
  const MemoryRange all = range_of(next_weights_);
  const MemoryRange next = next_is_shared_out_ ? all.share(all_begin, all_end, unit_count()) : all;
  const PrefetchRanges ahead =
      fetch_ahead_of(range_of(weights()), next).share_passes(begin - all_begin, end - all_begin, all_end - all_begin);
  run_units(x, y, residual, begin, end, 0, f.out_channels / (products_ ? f.groups : 1), ahead, scratch);
}

void IntegerConv::run_channels(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t image,
                               std::int64_t begin, std::int64_t end, std::byte* scratch) const noexcept {
  if (begin >= end) return;
  const std::int64_t first = image * units_per_image(), channels = filter_->filter().out_channels;
  const std::int64_t channel_begin = begin * kChannelUnit, channel_end = std::min(end * kChannelUnit, channels);
  const MemoryRange all = range_of(next_weights_);
  const MemoryRange next = next_is_shared_out_ ? all.share(channel_begin, channel_end, channels) : all;
  const MemoryRange own = range_of(weights()).share(channel_begin, channel_end, channels);
  const PrefetchRanges ahead = fetch_ahead_of(own, next).share_passes(image, image + 1, images_.batch);
  run_units(x, y, residual, first, first + units_per_image(), channel_begin, channel_end, ahead, scratch);
}

void IntegerConv::run_units(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin,
                            std::int64_t end, std::int64_t channel_begin, std::int64_t channel_end,
                            const PrefetchRanges& ahead, std::byte* scratch) const noexcept {
  for (std::int64_t unit = begin; unit < end;) {
    const std::int64_t image = unit / units_per_image(), first = unit % units_per_image();
    const std::int64_t units = std::min({end - unit, units_per_image() - first, units_per_panel()});
    const std::int64_t row = first * unit_rows();
    const OutputPart part{image, row, std::min(units * unit_rows(), images_.out_height - row), channel_begin,
                          channel_end};
    run_part(part, x, y, ahead.share_passes(unit - begin, unit - begin + units, end - begin), scratch);
    if (output_.kind == AccumulatorOutput::code) finish(static_cast<std::uint8_t*>(y), residual, part);
    unit += units;
  }
}

void IntegerConv::run_part(const OutputPart& s, const std::uint8_t* x, void* y, const PrefetchRanges& ahead,
                           std::byte* scratch) const noexcept {
  const std::uint8_t* image = x + s.image * images_.x.image;
  std::byte* out = static_cast<std::byte*>(y) + s.image * images_.y.image * element_bytes(output_.kind);
  if (winograd_ != nullptr) {
    const ConvFilter& f = filter_->filter();
    winograd_->run({.x = image,
                    .x_row = images_.x.row,
                    .in_channels = f.in_channels,
                    .depth = winograd_depth(f.in_channels),
                    .input_stride = winograd_input_stride(f.in_channels),
                    .out_height = images_.out_height,
                    .out_width = images_.out_width,
                    .out_channels = f.out_channels,
                    .tile_row_begin = s.row / kWinogradTile,
                    .tile_row_end = divide_up(s.row + s.count, kWinogradTile),
                    .weights = filter_->winograd_weights(),
                    .bias = filter_->bias(),
                    .multipliers = filter_->multipliers(),
                    .range = filter_->winograd_sums_are_small() ? WinogradRange::small : WinogradRange::large,
                    .steps_fit = filter_->multipliers_below_one(),
                    .y = out,
                    .y_row = images_.y.row,
                    .y_pixel = images_.y.pixel,
                    .output = &output_,
                    .scratch = scratch});
    return;
  }
  if (depthwise_ != nullptr) return run_depthwise(s, image, out);
  products_->run(s, image, out, output_, terms_->quick_steps.terms(), ahead, scratch);
}

void IntegerConv::run_depthwise(const OutputPart& s, const std::uint8_t* image, std::byte* out) const noexcept {
  const ConvFilter& f = filter_->filter();
  const UnpaddedImage& unpadded = images_.unpadded;
  const auto rows_under = [](std::int64_t count, std::int64_t stride, std::int64_t kernel, std::int64_t dilation) {
    return (count - 1) * stride + window_extent(kernel, dilation);
  };
  const bool is_unpadded = unpadded.height > 0;
  depthwise_->run({.x = image,
                   .in_height = is_unpadded
                                    ? unpadded.height
                                    : rows_under(images_.out_height, images_.stride_h, f.kernel_h, f.dilation_h),
                   .in_width = is_unpadded ? unpadded.width
                                           : rows_under(images_.out_width, images_.stride_w, f.kernel_w, f.dilation_w),
                   .x_row = images_.x.row,
                   .pad_top = unpadded.pad_top,
                   .pad_left = unpadded.pad_left,
                   .padding = images_.padding,
                   .row_begin = s.row,
                   .row_end = s.row + s.count,
                   .out_width = images_.out_width,
                   .stride_h = images_.stride_h,
                   .stride_w = images_.stride_w,
                   .dilation_h = f.dilation_h,
                   .dilation_w = f.dilation_w,
                   .channels = f.in_channels,
                   .kernel_h = f.kernel_h,
                   .kernel_w = f.kernel_w,
                   .weights = filter_->weights(),
                   .bias = filter_->bias(),
                   .multipliers = filter_->multipliers(),
                   .terms = terms_->quick_steps.terms(),
                   .y = out,
                   .y_row = images_.y.row,
                   .y_stride = images_.y.pixel,
                   .output = &output_,
                   .steps_fit = filter_->multipliers_below_one()});
}

/// Applies the table and adds the residual, while the rows are still in the cache.
void IntegerConv::finish(std::uint8_t* y, const std::uint8_t* residual, const OutputPart& s) const noexcept {
  const bool adds = output_.has_residual && residual != nullptr;
  if (!output_.has_table && !adds) return;
  const std::int64_t all = filter_->filter().out_channels;
  const std::int64_t channels = channel_unit_count() == 0 ? all : s.channel_end - s.channel_begin;
  const bool dense = images_.y.pixel == channels && (!adds || images_.residual.pixel == channels);
  const std::int64_t pieces = dense ? 1 : images_.out_width, length = dense ? images_.out_width * channels : channels;
  for (std::int64_t r = 0; r < s.count; ++r)
    for (std::int64_t p = 0; p < pieces; ++p) {
      std::uint8_t* codes =
          y + s.image * images_.y.image + (s.row + r) * images_.y.row + p * images_.y.pixel + s.channel_begin;
      if (output_.has_table) pointwise_->lookup(codes, codes, length, output_.table);
      if (!adds) continue;
      const std::uint8_t* other = residual + s.image * images_.residual.image + (s.row + r) * images_.residual.row +
                                  p * images_.residual.pixel + s.channel_begin;
      pointwise_->binary(CodeBinary::add, codes, other, codes, length, terms_->sum);
    }
}

}  // namespace bitfold
