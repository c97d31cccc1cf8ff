// Float steps that run in oneDNN.
#pragma once

#include <algorithm>
#include <limits>

#include "engine/step.h"
#include "onednn/prepared.h"

namespace bitfold::engine {

/// A prepared primitive on the plan's buffers. Operand numbers are -1 for arguments that the primitive does not have.
class OnednnStep final : public Step {
 public:
  explicit OnednnStep(onednn::Primitive primitive) : primitive_(std::move(primitive)) {}

  /// The primitive is made for one of `count` images, which lie one after another.
  struct Images {
    std::int64_t count = 1;
    std::size_t source_bytes = 0, destination_bytes = 0;  ///< Per image; a residual is as large as the destination.
  };
  Images images;

  /// oneDNN's Softmax leaves a NaN in its place, but it belongs into its whole row of `columns` results.
  struct NanRows {
    std::int64_t rows = 0, columns = 0;
  };
  NanRows nan_rows;

  struct Numbers {
    int source = -1, weights = -1, bias = -1, residual = -1, destination = -1, scratch = -1;
  };
  Numbers numbers;

  const std::string& implementation() const { return primitive_.implementation(); }

  bool has_own_threads() const override { return true; }
  std::size_t own_bytes() const override { return Step::own_bytes() + kPrimitiveBytes; }
  void run(const Team& /*team*/) noexcept override {
    fallible([&] {
      for (std::int64_t i = 0; i < images.count; ++i) run_image(static_cast<std::size_t>(i));
      spread_nan();
    });
  }

 private:
  static constexpr std::size_t kPrimitiveBytes = 32 * 1024;  // mostly code made for the shape

  void run_image(std::size_t image) {
    const std::size_t in = image * images.source_bytes, out = image * images.destination_bytes;
    primitive_.run({.source = address(numbers.source, in),
                    .weights = address(numbers.weights),
                    .bias = reinterpret_cast<const float*>(address(numbers.bias)),
                    .residual = reinterpret_cast<const float*>(address(numbers.residual, out)),
                    .destination = address(numbers.destination, out),
                    .scratch = address(numbers.scratch)});
  }
  void spread_nan() const {
    for (std::int64_t row = 0; row < nan_rows.rows; ++row) {
      float* y = at<float>(numbers.destination) + row * nan_rows.columns;
      int found = 0;
      for (std::int64_t i = 0; i < nan_rows.columns; ++i) found |= static_cast<int>(y[i] != y[i]);
      if (found != 0) std::fill_n(y, nan_rows.columns, std::numeric_limits<float>::quiet_NaN());
    }
  }
  std::byte* address(int operand, std::size_t offset = 0) const {
    return operand < 0 ? nullptr : at<std::byte>(operand) + offset;
  }

  onednn::Primitive primitive_;
};

}  // namespace bitfold::engine
