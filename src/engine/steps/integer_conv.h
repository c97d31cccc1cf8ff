// Convolutions and matrix products over codes.
#pragma once

#include <algorithm>
#include <memory>

#include "engine/step.h"
#include "kernels/image_form.h"
#include "kernels/integer_conv.h"

namespace bitfold::engine {

/// Brings each image into the form the convolution reads where it is not in it, padded above all, then convolves.
/// Operands: out (write), in (read), then the formed images (scratch), the residual (read) and scratch_bytes() of
/// scratch where there are such.
class IntegerConvStep final : public Step {
 public:
  /// Of `batch` images. The border around each is filled with the code of real 0 (invariant 2).
  struct Padding {
    bool is_needed = false;
    ImageFormer former;
    std::int64_t batch = 1;
    std::uint8_t zero_point = 0;
  };
  IntegerConvStep(IntegerConv conv, const Padding& padding, bool has_residual, int threads)
      : conv_(std::move(conv)), padding_(padding), has_residual_(has_residual), threads_(threads) {}
  void run() noexcept override;

  /// Brings weights of a later step closer, unless this one has many to read itself.
  void fetch_ahead(const IntegerConvStep& later) {
    constexpr std::size_t kMost = 1024 * 1024;  // half of a second-level cache
    const auto weights = later.conv_.weights();
    if (conv_.weights().size() <= kMost) conv_.fetch_ahead(weights.first(std::min(weights.size(), kMost)));
  }

  std::size_t scratch_bytes() const { return thread_scratch_bytes() * static_cast<std::size_t>(threads_); }

 private:
  /// Rows of a formed image.
  void pad(std::int64_t image, std::int64_t begin, std::int64_t end) noexcept;
  /// Whole cache lines, so that threads do not write to each other's.
  std::size_t thread_scratch_bytes() const { return (conv_.scratch_bytes() + 63) / 64 * 64; }

  IntegerConv conv_;
  Padding padding_;
  bool has_residual_;
  int threads_;
};

}  // namespace bitfold::engine
