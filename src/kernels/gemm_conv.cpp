#include "kernels/gemm_conv.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "kernels/gemm/gemm.h"

namespace bitfold {
namespace {

/// Channels of a call: whole steps of the kernel.
std::int64_t channels_of_call(const GemmKernel& kernel, std::int64_t block_weights) {
  if (kernel.max_weight_bytes == 0) return kernel.nr;
  const std::int64_t pairs = kernel.max_weight_bytes / block_weights / 2;  // pairs of blocks
  return std::clamp<std::int64_t>(pairs * 2 * kBlockChannels, 2 * kBlockChannels, kernel.nr);
}

}  // namespace

GemmConv::GemmConv(std::shared_ptr<const PackedFilter> filter, const ConvImages& images, std::int64_t panel_rows,
                   Isa cap)
    : filter_(std::move(filter)), images_(images), panel_rows_(panel_rows) {
  const ConvFilter& f = filter_->filter();
  const bool is_dense = images_.row_step() == images_.out_width * images_.pixel_step() &&
                        images_.y.row == images_.out_width * images_.y.pixel;
  run_count_ = filter_->run_count();
  group_count_ = filter_->group_count();
  if (images_.split.image > 0) {
    // Adjacent taps are apart in memory. Their weights are not, because no group of 4 spans two taps.
    assert(f.groups == 1 && f.in_channels % kGroupBytes == 0);
    run_count_ = f.kernel_h * f.kernel_w;
    group_count_ = f.in_channels / kGroupBytes;
  }
  const std::int64_t channels = f.out_channels / f.groups;
  GemmSize size{.pixel_count = images_.out_width * (is_dense ? panel_rows : 1),
                .channel_count = channels,
                .run_count = run_count_,
                .group_count = group_count_,
                .row_count = is_dense ? 1 : panel_rows};
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
  if (!merges_rows_) {
    leave_out_padding();
    return;
  }
  const KernelRows all{0, f.kernel_h, filter_->bias()};
  kernel_rows_ = {all};
  if (takes_pairs()) kernel_rows_[0].bias = biases_.emplace_back(bias_over(all)).get();
}

std::int64_t GemmConv::tap_offset(std::int64_t row, std::int64_t column) const {
  if (images_.split.image == 0) return row * images_.x.row + column * images_.x.pixel;
  const std::int64_t image = row % images_.stride_h * images_.split.columns + column % images_.stride_w;
  return image * images_.split.image + row / images_.stride_h * images_.x.row +
         column / images_.stride_w * images_.x.pixel;
}

void GemmConv::leave_out_padding() {
  const ConvFilter& f = filter_->filter();
  GemmSize left_out{
      .pixel_count = images_.out_width, .channel_count = f.out_channels / f.groups, .group_count = group_count_};
  kernel_rows_.reserve(static_cast<std::size_t>(images_.out_height));
  for (std::int64_t row = 0; row < images_.out_height; ++row) {
    KernelRows rows = kernel_rows(row);
    left_out.run_count = (f.kernel_h - (rows.end - rows.begin)) * run_count_ / f.kernel_h;
    const bool is_whole =
        left_out.run_count == 0 || !separate_call_pays(*wide_, left_out, images_.out_height * images_.out_width);
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

GemmConv::KernelRows GemmConv::kernel_rows(std::int64_t row) const {
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

/// The filter's biases, plus padding * w summed over the kernel rows that are skipped, and, for kernels that take
/// pairs, minus w0 w1 + w2 w3 + ... over the others.
AlignedArray<std::int32_t> GemmConv::bias_over(const KernelRows& rows) const {
  const std::int64_t runs_per_row = filter_->run_count() / filter_->filter().kernel_h;
  const std::int64_t blocks = filter_->filter().groups * filter_->block_count();
  auto bias = zeroed_array<std::int32_t>(blocks * kBlockChannels);
  std::copy_n(filter_->bias(), blocks * kBlockChannels, bias.get());
  const std::int8_t* w = filter_->weights();
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t r = 0; r < filter_->run_count(); ++r) {
      const bool is_kept = r >= rows.begin * runs_per_row && r < rows.end * runs_per_row;
      for (std::int64_t i = 0; i < filter_->group_count() * kBlockChannels; ++i, w += kGroupBytes) {
        // Modulo 2^32: only the final accumulator must fit.
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

bool GemmConv::takes_pairs() const { return wide_->sum_pairs != nullptr; }

std::size_t GemmConv::scratch_bytes() const {
  return takes_pairs() ? static_cast<std::size_t>(panel_rows_ * images_.out_width) * sizeof(std::int32_t) : 0;
}

std::string GemmConv::kernel_name() const { return wide_->name; }

void GemmConv::run(const OutputPart& s, const std::uint8_t* image, std::byte* out, const ConvOutput& output,
                   const StepTerms& terms, const PrefetchRanges& ahead, std::byte* scratch) const noexcept {
  const ConvFilter& f = filter_->filter();
  const std::int64_t y_bytes = element_bytes(output.kind);
  const std::uint8_t* from = image + s.row * images_.row_step();
  std::byte* to = out + s.row * images_.y.row * y_bytes;
  auto* pairs = reinterpret_cast<std::int32_t*>(scratch);
  const std::int64_t in_group = f.in_channels / f.groups, out_group = f.out_channels / f.groups;
  const std::int64_t run_weights = group_count_ * kGroupWeights;
  const std::int64_t block_weights = filter_->run_count() * filter_->group_count() * kGroupWeights;
  const std::int64_t rows = merges_rows_ ? 1 : s.count, runs_per_row = run_count_ / f.kernel_h;
  GemmTask task{.pixel_stride = images_.pixel_step(),
                .pixel_count = images_.out_width * (merges_rows_ ? s.count : 1),
                .x_row = images_.row_step(),
                .group_count = group_count_,
                .block_weights = block_weights,
                .y_stride = images_.y.pixel,
                .y_row = images_.y.row,
                .output = &output,
                .steps_fit = filter_->multipliers_below_one()};
  const auto kept = [&](std::int64_t r) -> const KernelRows& {
    return kernel_rows_[static_cast<std::size_t>(merges_rows_ ? 0 : s.row + r)];
  };
  const auto read_row = [&](std::int64_t r, std::int64_t group) {
    task.run_offsets = run_offsets_.get() + kept(r).begin * runs_per_row;
    task.run_count = (kept(r).end - kept(r).begin) * runs_per_row;
    task.x = from + r * images_.row_step() + group * in_group;
    task.x_pairs = pairs + r * task.pixel_count;
  };
  const std::int64_t wide_channels = out_group / wide_->nr * wide_->nr;
  std::int64_t done = 0;  // rows finished so far
  const std::int64_t all_outputs = rows * (s.channel_end - s.channel_begin) * f.groups;
  for (std::int64_t group = 0; group < f.groups; ++group) {
    for (std::int64_t r = 0; takes_pairs() && r < rows; ++r) {
      read_row(r, group);
      wide_->sum_pairs(task, pairs + r * task.pixel_count);
    }
    for (std::int64_t c = s.channel_begin; c < s.channel_end; c += task.channel_count) {
      const bool is_wide = c < wide_channels;
      const GemmKernel& kernel = is_wide ? *wide_ : *narrow_;
      const std::int64_t block = group * filter_->block_count() + c / kBlockChannels;
      task.multipliers = filter_->multipliers() + block * kBlockChannels;
      task.terms = terms.from(block * kBlockChannels);
      const std::int64_t end = is_wide ? std::min(wide_channels, s.channel_end) : s.channel_end;
      task.channel_count = std::min(channels_of_call(kernel, block_weights), end - c);
      for (std::int64_t r = 0; r < rows; r += task.row_count) {
        read_row(r, group);
        task.row_count = 1;
        while (kernel.takes_rows && r + task.row_count < rows && kept(r + task.row_count) == kept(r)) ++task.row_count;
        task.bias = kept(r).bias + block * kBlockChannels;
        task.weights = filter_->weights() + block * block_weights + kept(r).begin * runs_per_row * run_weights;
        task.y = to + (r * images_.y.row + group * out_group + c) * y_bytes;
        if (kernel.max_weight_bytes > 0) {
          const std::int64_t outputs = task.row_count * task.channel_count;
          task.ahead = ahead.share(done, done + outputs, all_outputs);
          done += outputs;
        }
        kernel.run(task);
      }
    }
  }
}

}  // namespace bitfold
