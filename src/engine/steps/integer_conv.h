// Convolutions and matrix products on codes.
#pragma once

#include <algorithm>
#include <memory>

#include "engine/step.h"
#include "kernels/image_form.h"
#include "kernels/integer_conv.h"

namespace bitfold::engine {

/// Packs each image into the form that the convolution reads, if necessary (mainly to pad it), then convolves it.
/// Images use the same memory in turn, so the image stride of the convolution's x is 0. Each thread packs what it
/// reads, because lines written by another core arrive slowly; large images are packed jointly. Operands: out (write),
/// in (read), then packed_bytes() of packed images (scratch), the residual (read) and scratch_bytes() of scratch, if
/// needed; after them zero_point_operand (read).
class IntegerConvStep final : public Step {
 public:
  /// For `batch` images. The border around each is filled with the code of real 0 (invariant 2).
  struct Padding {
    bool is_needed = false;
    ImagePacker packer;
    std::int64_t batch = 1;
    std::uint8_t zero_point = 0;
  };
  IntegerConvStep(IntegerConv conv, const Padding& padding, bool has_residual, int threads)
      : conv_(std::move(conv)), padding_(padding), has_residual_(has_residual), threads_(threads) {}
  void run(const Team& team) noexcept override;
  int threads() const override { return threads_; }

  /// The operand that holds the code of real 0, if it is computed; otherwise -1.
  int zero_point_operand = -1;

  /// Prefetches weights of a later step.
  void fetch_ahead(const IntegerConvStep& later) {
    conv_.fetch_ahead(later.conv_.weights(), later.conv_.splits_by_channels(later.threads_));
  }

  std::size_t packed_bytes() const {
    return packed_image_bytes() * static_cast<std::size_t>(packs_together() ? 1 : threads_);
  }
  std::size_t scratch_bytes() const { return thread_scratch_bytes() * static_cast<std::size_t>(threads_); }

 private:
  static constexpr std::size_t kHalfCache = 1024 * 1024;  ///< Half of the second-level cache.

  std::uint8_t padding_code() const {
    return zero_point_operand < 0 ? padding_.zero_point : *at<std::uint8_t>(zero_point_operand);
  }
  /// Packs rows [begin, end) of an image.
  void pack(std::uint8_t* packed, std::int64_t image, std::int64_t begin, std::int64_t end) noexcept;
  /// Whether threads pack an image jointly. Used for large images, so that memory does not grow with the number of
  /// threads.
  bool packs_together() const {
    return threads_ > 1 && packed_image_bytes() * static_cast<std::size_t>(threads_) > kHalfCache;
  }
  void pack_together(const Team& team, const std::uint8_t* residual) noexcept;
  /// Runs units [begin, end) of all images.
  void pack_and_run(std::uint8_t* packed, const std::uint8_t* residual, std::int64_t begin, std::int64_t end,
                    std::byte* scratch) noexcept;
  /// Rounded up to whole cache lines, so that threads do not share lines.
  static std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  std::size_t packed_image_bytes() const {
    return whole_lines(static_cast<std::size_t>(padding_.packer.packed_bytes() + kOverread));
  }
  std::size_t thread_scratch_bytes() const { return whole_lines(conv_.scratch_bytes()); }
  /// The scratch memory of the thread that does that part.
  std::byte* scratch_of(int part) const {
    const int operand = 2 + (padding_.is_needed ? 1 : 0) + (has_residual_ ? 1 : 0);
    const std::size_t bytes = thread_scratch_bytes();
    return bytes == 0 ? nullptr : at<std::byte>(operand) + static_cast<std::size_t>(part) * bytes;
  }

  IntegerConv conv_;
  Padding padding_;
  bool has_residual_;
  int threads_;
};

}  // namespace bitfold::engine
