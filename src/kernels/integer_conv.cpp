#include "kernels/integer_conv.h"

#include <algorithm>
#include <cassert>

#include "kernels/depthwise/depthwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/winograd/winograd.h"

namespace bitfold {
namespace {

constexpr std::int64_t kChannelUnit = 64;  // a multiple of what the kernels take at a time, but for those on tiles
constexpr std::int64_t kColumnRows = 4;    // kernel rows that one group of a depthwise column holds
// Input and output of a panel of rows stay in the second-level cache (1 MiB on Zen 4, 512 KiB before it) together with
// the weights of a block of channels while every block passes over them.
constexpr std::int64_t kPanelBytes = 256 * 1024;
// CPUs with tiles have 2 MiB. Measured: every further panel of a layer that adds residuals takes some 4 us.
constexpr std::int64_t kTilePanelBytes = 1024 * 1024;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

template <class T>
AlignedArray<T> zeros(std::int64_t count, MemoryPieces* memory) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
  const auto piece = memory != nullptr ? memory->take(bytes) : allocate_zeroed(bytes);
  return {piece, reinterpret_cast<T*>(piece.get())};
}

std::int64_t element_bytes(AccumulatorOutput kind) { return kind == AccumulatorOutput::code ? 1 : 4; }

}  // namespace

FilterForm best_filter_form(const ConvFilter& f, const std::int8_t* weights, const ConvImages& images, Isa cap) {
  const bool is_3x3 = f.kernel_h == 3 && f.kernel_w == 3 && f.groups == 1 && f.dilation_h == 1 && f.dilation_w == 1 &&
                      images.stride_h == 1 && images.stride_w == 1;
  const bool is_better = is_3x3 && select_winograd_kernel(cap) != nullptr &&
                         winograd_pays(f.in_channels, f.out_channels, images.out_height, images.out_width) &&
                         winograd_range(weights, nullptr, f.in_channels, f.out_channels) != WinogradRange::too_large;
  return is_better ? FilterForm::winograd : FilterForm::direct;
}

PackedFilter::PackedFilter(const ConvFilter& filter, const std::int8_t* weights, const std::int32_t* bias,
                           const float* multipliers, FilterForm form, MemoryPieces* memory)
    : filter_(filter), form_(form) {
  assert(filter.groups > 0 && filter.in_channels % filter.groups == 0 && filter.out_channels % filter.groups == 0);
  // Blocks never mix groups; a depthwise convolution's blocks are of plain channels.
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
  bias_ = zeros<std::int32_t>(sections * block_count_ * kBlockChannels, memory);
  multipliers_ = zeros<float>(sections * block_count_ * kBlockChannels, memory);
  for (std::int64_t c = 0; c < filter.out_channels; ++c) {
    const std::int64_t to = c / channels * block_count_ * kBlockChannels + c % channels;
    bias_[static_cast<std::size_t>(to)] = bias == nullptr ? 0 : bias[c];
    multipliers_[static_cast<std::size_t>(to)] = multipliers == nullptr ? 1.0F : multipliers[c];
    // The largest accumulator times the float below 1 is still below 2^31 after rounding.
    multipliers_below_one_ &= multipliers_[static_cast<std::size_t>(to)] < 1.0F;
  }
  if (form == FilterForm::winograd) {
    transformed_ = zeros<std::int16_t>(winograd_weight_count(filter.in_channels, filter.out_channels), memory);
    pack_winograd_weights(weights, filter.in_channels, filter.out_channels, transformed_.get());
    winograd_sums_are_small_ =
        winograd_range(weights, bias, filter.in_channels, filter.out_channels) == WinogradRange::small;
    return;
  }
  weights_ = zeros<std::int8_t>(static_cast<std::int64_t>(size_bytes()), memory);
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

/// gemm.h: [group][block][run][group of 4][16][4]
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

/// depthwise.h: [block][column][group of 4 rows][16][4]
void PackedFilter::pack_columns(const std::int8_t* weights) {
  const std::int64_t column_weights = group_count() * kGroupWeights, block_weights = run_count_ * column_weights;
  for (std::int64_t c = 0; c < filter_.out_channels; ++c) {
    std::int8_t* to = weights_.get() + c / kBlockChannels * block_weights + c % kBlockChannels * kGroupBytes;
    for (std::int64_t i = 0; i < filter_.kernel_h; ++i)
      for (std::int64_t j = 0; j < filter_.kernel_w; ++j)
        to[j * column_weights + i / kColumnRows * kGroupWeights + i % kColumnRows] = *weights++;
  }
}

/// Rows [row, row + count) of one image, of which the channels [channel_begin, channel_end) of each group. They are all
/// but in products of one group.
struct IntegerConv::Segment {
  std::int64_t image, row, count, channel_begin, channel_end;
};

IntegerConv::IntegerConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, const ConvOutput& output,
                         Isa cap)
    : filter_(std::move(filter)), images_(images), output_(output), pointwise_(&pointwise_kernels(cap)) {
  if (output.has_residual)
    sum_ = prepared(*pointwise_, CodeBinary::add, {output.add.product, output.add.residual, output.add.sum});
  assert(images.x.pixel == filter_->filter().in_channels);
  assert(images.bare.height == 0 || filter_->filter().is_depthwise());
  const std::int64_t row_bytes = row_step() * images_.split.rows * images_.split.columns +
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
    panel_rows_ = std::max(panel_rows_ / kWinogradTile, divide_up(kWinogradMostTiles, tiles_wide)) * kWinogradTile;
    return;
  }
  select_products(cap);
}

void IntegerConv::select_products(Isa cap) {
  const ConvFilter& f = filter_->filter();
  const bool is_dense =
      row_step() == images_.out_width * pixel_step() && images_.y.row == images_.out_width * images_.y.pixel;
  run_count_ = filter_->run_count();
  group_count_ = filter_->group_count();
  if (images_.split.image > 0) {
    // Neighbouring taps are apart. Their weights are not, as no group of 4 belongs to two of them.
    assert(f.groups == 1 && f.in_channels % kGroupBytes == 0);
    run_count_ = f.kernel_h * f.kernel_w;
    group_count_ = f.in_channels / kGroupBytes;
  }
  const std::int64_t channels = f.out_channels / f.groups;
  GemmSize size{.pixel_count = images_.out_width * (is_dense ? panel_rows_ : 1),
                .channel_count = channels,
                .run_count = run_count_,
                .group_count = group_count_,
                .row_count = is_dense ? 1 : panel_rows_};
  wide_ = &select_gemm_kernel(size, cap);
  size.channel_count = channels % wide_->nr;
  size.takes_pairs = takes_pairs();
  narrow_ = size.channel_count == 0 ? wide_ : &select_gemm_kernel(size, cap);

  const std::int64_t runs_per_row = run_count_ / f.kernel_h;
  run_offsets_ = std::make_unique<std::int64_t[]>(static_cast<std::size_t>(run_count_));
  for (std::int64_t r = 0; r < run_count_; ++r)
    run_offsets_[static_cast<std::size_t>(r)] =
        tap_offset(r / runs_per_row * f.dilation_h, r % runs_per_row * f.dilation_w);

  merges_rows_ = is_dense && images_.content_begin <= 0 && images_.content_end >= images_.out_height * images_.stride_h;
  if (!merges_rows_) return leave_out_padding();
  const KernelRows all{0, f.kernel_h, filter_->bias()};
  kernel_rows_ = {all};
  if (takes_pairs()) kernel_rows_[0].bias = biases_.emplace_back(bias_over(all)).get();
}

std::int64_t IntegerConv::tap_offset(std::int64_t row, std::int64_t column) const {
  if (images_.split.image == 0) return row * images_.x.row + column * images_.x.pixel;
  const std::int64_t image = row % images_.stride_h * images_.split.columns + column % images_.stride_w;
  return image * images_.split.image + row / images_.stride_h * images_.x.row +
         column / images_.stride_w * images_.x.pixel;
}

void IntegerConv::leave_out_padding() {
  const ConvFilter& f = filter_->filter();
  GemmSize left_out{
      .pixel_count = images_.out_width, .channel_count = f.out_channels / f.groups, .group_count = group_count_};
  kernel_rows_.reserve(static_cast<std::size_t>(images_.out_height));
  for (std::int64_t row = 0; row < images_.out_height; ++row) {
    KernelRows rows = kernel_rows(row);
    left_out.run_count = (f.kernel_h - (rows.end - rows.begin)) * run_count_ / f.kernel_h;
    const bool is_whole =
        left_out.run_count == 0 || !is_worth_a_call(*wide_, left_out, images_.out_height * images_.out_width);
    if (is_whole) rows = {0, f.kernel_h, filter_->bias()};
    if (takes_pairs() || (!is_whole && images_.padding != 0)) {
      const auto same = std::find_if(kernel_rows_.begin(), kernel_rows_.end(), [&](const KernelRows& other) {
        return other.begin == rows.begin && other.end == rows.end;
      });
      rows.bias = same != kernel_rows_.end() ? same->bias : biases_.emplace_back(bias_over(rows)).get();
    }
    kernel_rows_.push_back(rows);
  }
}

IntegerConv::KernelRows IntegerConv::kernel_rows(std::int64_t row) const {
  const ConvFilter& f = filter_->filter();
  const std::int64_t first = row * images_.stride_h;
  const auto over = [&](std::int64_t i) {
    const std::int64_t h = first + i * f.dilation_h;
    return h >= images_.content_begin && h < images_.content_end;
  };
  std::int64_t begin = 0, end = f.kernel_h;
  while (begin < end && !over(begin)) ++begin;
  while (end > begin && !over(end - 1)) --end;
  return {begin, end, filter_->bias()};
}

/// The filter's biases plus padding * w summed over the kernel rows that are left out, and, where pairs are taken, less
/// w0 w1 + w2 w3 + ... over the others.
AlignedArray<std::int32_t> IntegerConv::bias_over(const KernelRows& rows) const {
  const std::int64_t runs_per_row = filter_->run_count() / filter_->filter().kernel_h;
  const std::int64_t blocks = filter_->filter().groups * filter_->block_count();
  auto bias = zeros<std::int32_t>(blocks * kBlockChannels, nullptr);
  std::copy_n(filter_->bias(), blocks * kBlockChannels, bias.get());
  const std::int8_t* w = filter_->weights();
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t r = 0; r < filter_->run_count(); ++r) {
      const bool is_kept = r >= rows.begin * runs_per_row && r < rows.end * runs_per_row;
      for (std::int64_t i = 0; i < filter_->group_count() * kBlockChannels; ++i, w += kGroupBytes) {
        // Modulo 2^32: only the accumulator itself must fit.
        auto& b = reinterpret_cast<std::uint32_t&>(
            bias[static_cast<std::size_t>(block * kBlockChannels + i % kBlockChannels)]);
        if (!is_kept)
          b += static_cast<std::uint32_t>(images_.padding * (w[0] + w[1] + w[2] + w[3]));
        else if (takes_pairs())
          b -= static_cast<std::uint32_t>(w[0] * w[1] + w[2] * w[3]);
      }
    }
  return bias;
}

bool IntegerConv::takes_pairs() const { return wide_ != nullptr && wide_->sum_pairs != nullptr; }

std::int64_t IntegerConv::unit_rows() const { return winograd_ != nullptr ? kWinogradTile : 1; }

std::int64_t IntegerConv::units_per_image() const { return divide_up(images_.out_height, unit_rows()); }

std::int64_t IntegerConv::units_per_panel() const { return panel_rows_ / unit_rows(); }

std::int64_t IntegerConv::rows_read(std::int64_t end) const {
  const ConvFilter& f = filter_->filter();
  const std::int64_t last = std::min(end * unit_rows(), images_.out_height) - 1;
  return last * images_.stride_h + (f.kernel_h - 1) * f.dilation_h + 1;
}

std::size_t IntegerConv::scratch_bytes() const {
  if (winograd_ != nullptr) return winograd_scratch_bytes(filter_->filter().in_channels);
  return takes_pairs() ? static_cast<std::size_t>(panel_rows_ * images_.out_width) * sizeof(std::int32_t) : 0;
}

std::span<const std::byte> IntegerConv::weights() const {
  const void* packed = filter_->weights();
  if (packed == nullptr) packed = filter_->winograd_weights();
  return {static_cast<const std::byte*>(packed), filter_->size_bytes()};
}

std::string IntegerConv::kernel_name() const {
  if (winograd_ != nullptr) return std::string("winograd.") + winograd_->name;
  if (depthwise_ != nullptr) return std::string("depthwise.") + depthwise_->name;
  return std::string("gemm.") + wide_->name;
}

std::int64_t IntegerConv::channel_unit_count() const {
  const ConvFilter& f = filter_->filter();
  return wide_ == nullptr || f.groups != 1 ? 0 : divide_up(f.out_channels, kChannelUnit);
}

bool IntegerConv::has_more_weights_than_pixels() const {
  return filter_->size_bytes() > static_cast<std::size_t>(images_.batch * images_.out_height * row_step());
}

void IntegerConv::run(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin,
                      std::int64_t end, std::byte* scratch) const noexcept {
  const ConvFilter& f = filter_->filter();
  run_units(x, y, residual, begin, end, 0, f.out_channels / (wide_ != nullptr ? f.groups : 1), scratch);
}

void IntegerConv::run_channels(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin,
                               std::int64_t end, std::byte* scratch) const noexcept {
  const std::int64_t channel_end = std::min(end * kChannelUnit, filter_->filter().out_channels);
  if (begin < end) run_units(x, y, residual, 0, unit_count(), begin * kChannelUnit, channel_end, scratch);
}

void IntegerConv::run_units(const std::uint8_t* x, void* y, const std::uint8_t* residual, std::int64_t begin,
                            std::int64_t end, std::int64_t channel_begin, std::int64_t channel_end,
                            std::byte* scratch) const noexcept {
  for (std::int64_t unit = begin; unit < end;) {
    const std::int64_t image = unit / units_per_image(), first = unit % units_per_image();
    const std::int64_t units = std::min({end - unit, units_per_image() - first, units_per_panel()});
    const std::int64_t row = first * unit_rows();
    const Segment segment{image, row, std::min(units * unit_rows(), images_.out_height - row), channel_begin,
                          channel_end};
    run_segment(segment, x, y, scratch);
    if (output_.kind == AccumulatorOutput::code) finish(static_cast<std::uint8_t*>(y), residual, segment);
    unit += units;
  }
}

void IntegerConv::run_segment(const Segment& s, const std::uint8_t* x, void* y, std::byte* scratch) const noexcept {
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
  run_products(s, image + s.row * row_step(), out + s.row * images_.y.row * element_bytes(output_.kind),
               reinterpret_cast<std::int32_t*>(scratch));
}

void IntegerConv::run_depthwise(const Segment& s, const std::uint8_t* image, std::byte* out) const noexcept {
  const ConvFilter& f = filter_->filter();
  const BareImage& bare = images_.bare;
  const auto rows_under = [](std::int64_t count, std::int64_t stride, std::int64_t kernel, std::int64_t dilation) {
    return (count - 1) * stride + (kernel - 1) * dilation + 1;
  };
  const bool is_bare = bare.height > 0;
  depthwise_->run(
      {.x = image,
       .in_height = is_bare ? bare.height : rows_under(images_.out_height, images_.stride_h, f.kernel_h, f.dilation_h),
       .in_width = is_bare ? bare.width : rows_under(images_.out_width, images_.stride_w, f.kernel_w, f.dilation_w),
       .x_row = images_.x.row,
       .pad_top = bare.pad_top,
       .pad_left = bare.pad_left,
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
       .y = out,
       .y_row = images_.y.row,
       .y_stride = images_.y.pixel,
       .output = &output_,
       .steps_fit = filter_->multipliers_below_one()});
}

void IntegerConv::run_products(const Segment& s, const std::uint8_t* from, std::byte* to,
                               std::int32_t* pairs) const noexcept {
  const ConvFilter& f = filter_->filter();
  const std::int64_t y_bytes = element_bytes(output_.kind);
  const std::int64_t in_group = f.in_channels / f.groups, out_group = f.out_channels / f.groups;
  const std::int64_t run_weights = group_count_ * kGroupWeights;
  const std::int64_t block_weights = filter_->run_count() * filter_->group_count() * kGroupWeights;
  const std::int64_t rows = merges_rows_ ? 1 : s.count, runs_per_row = run_count_ / f.kernel_h;
  // Its share of what is to be fetched.
  const auto bytes = static_cast<std::int64_t>(ahead_.size());
  const std::int64_t all = images_.batch * images_.out_height, first = s.image * images_.out_height + s.row;
  FetchAhead ahead{ahead_.data() + bytes * first / all, ahead_.data() + bytes * (first + s.count) / all};
  if (s.channel_end - s.channel_begin < out_group)  // the same channels of the next layer's weights
    ahead = {ahead_.data() + bytes * s.channel_begin / out_group, ahead_.data() + bytes * s.channel_end / out_group};
  GemmTask task{.pixel_stride = pixel_step(),
                .pixel_count = images_.out_width * (merges_rows_ ? s.count : 1),
                .x_row = row_step(),
                .group_count = group_count_,
                .block_weights = block_weights,
                .y_stride = images_.y.pixel,
                .y_row = images_.y.row,
                .output = &output_,
                .ahead = &ahead,
                .steps_fit = filter_->multipliers_below_one()};
  const auto kept = [&](std::int64_t r) -> const KernelRows& {
    return kernel_rows_[static_cast<std::size_t>(merges_rows_ ? 0 : s.row + r)];
  };
  const auto read_row = [&](std::int64_t r, std::int64_t group) {
    task.run_offsets = run_offsets_.get() + kept(r).begin * runs_per_row;
    task.run_count = (kept(r).end - kept(r).begin) * runs_per_row;
    task.x = from + r * row_step() + group * in_group;
    task.x_pairs = pairs + r * task.pixel_count;
  };
  for (std::int64_t group = 0; group < f.groups; ++group) {
    for (std::int64_t r = 0; takes_pairs() && r < rows; ++r) {
      read_row(r, group);
      wide_->sum_pairs(task, pairs + r * task.pixel_count);
    }
    for (std::int64_t c = s.channel_begin; c < s.channel_end; c += task.channel_count) {
      const GemmKernel& kernel = out_group - c >= wide_->nr ? *wide_ : *narrow_;
      const std::int64_t block = group * filter_->block_count() + c / kBlockChannels;
      task.multipliers = filter_->multipliers() + block * kBlockChannels;
      task.channel_count = std::min<std::int64_t>(kernel.nr, s.channel_end - c);
      for (std::int64_t r = 0; r < rows; r += task.row_count) {
        read_row(r, group);
        task.row_count = 1;
        while (kernel.takes_rows && r + task.row_count < rows && kept(r + task.row_count) == kept(r)) ++task.row_count;
        task.bias = kept(r).bias + block * kBlockChannels;
        task.weights = filter_->weights() + block * block_weights + kept(r).begin * runs_per_row * run_weights;
        task.y = to + (r * images_.y.row + group * out_group + c) * y_bytes;
        kernel.run(task);
      }
    }
  }
}

/// The table and the residual, over rows that are still in the cache.
void IntegerConv::finish(std::uint8_t* y, const std::uint8_t* residual, const Segment& s) const noexcept {
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
      pointwise_->binary(CodeBinary::add, codes, other, codes, length, sum_);
    }
}

}  // namespace bitfold
