// Convolutions of reals for which the engine has no form of its own: transposed ones, and those of volumes.
#pragma once

#include <memory>
#include <utility>

#include "engine/step.h"
#include "onednn/plain.h"

namespace bitfold::engine {

/// Operands: y (write), x (read). The convolution holds the packed weights.
class PlainConvStep final : public Step {
 public:
  PlainConvStep(std::shared_ptr<const onednn::PlainConv> conv, bool x_has_channels_last, bool y_has_channels_last)
      : conv_(std::move(conv)), x_has_channels_last_(x_has_channels_last), y_has_channels_last_(y_has_channels_last) {}

  bool has_own_threads() const override { return true; }
  std::size_t own_bytes() const override { return Step::own_bytes() + conv_->packed_bytes(); }
  void run(const Team& /*team*/) noexcept override {
    fallible([&] { conv_->run(at<float>(1), x_has_channels_last_, at<float>(0), y_has_channels_last_); });
  }

 private:
  std::shared_ptr<const onednn::PlainConv> conv_;
  bool x_has_channels_last_, y_has_channels_last_;
};

}  // namespace bitfold::engine
