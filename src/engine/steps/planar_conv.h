// A float convolution with planar input and output.
#pragma once

#include <cstring>

#include "engine/step.h"
#include "engine/steps/parallel.h"
#include "kernels/planar_conv/planar_conv.h"

namespace bitfold::engine {

/// Operands: y (write), x (read), weights (read), bias (read), then one zero-padded image (scratch), if needed.
class PlanarConvStep final : public Step {
 public:
  struct Images {
    std::int64_t batch = 1, height = 1, width = 1;  ///< The input before it is padded.
    std::int64_t top = 0, bottom = 0, left = 0, right = 0;

    bool is_padded() const { return top + bottom + left + right > 0; }
    std::int64_t row() const { return left + width + right; }
    std::int64_t plane() const { return (top + height + bottom) * row(); }
  };
  PlanarConvStep(const PlanarConv& conv, const PlanarConvKernel& kernel, const Images& images, int threads)
      : conv_(conv), kernel_(kernel), images_(images), threads_(threads) {}

  int threads() const override { return threads_; }
  void run(const Team& team) noexcept override {
    for (std::int64_t n = 0; n < images_.batch; ++n) {
      const float* x = at<float>(1) + n * conv_.in_channels * images_.height * images_.width;
      if (images_.is_padded()) {
        if (n > 0) team.wait();  // all threads have read the previous image
        if (team.rank() == 0) pad(x);
        team.wait();
        x = at<float>(4);
      }
      float* y = at<float>(0) + n * conv_.out_channels * conv_.out_height * conv_.out_width;
      for_each_part(team, threads_, conv_.out_height, [&](std::int64_t begin, std::int64_t end) {
        kernel_.run(conv_, x, at<float>(2), at<float>(3), y, begin, end);
      });
    }
  }

 private:
  void pad(const float* x) {
    float* const image = at<float>(4);
    std::memset(image, 0, static_cast<std::size_t>(conv_.in_channels * images_.plane()) * sizeof(float));
    for (std::int64_t c = 0; c < conv_.in_channels; ++c)
      for (std::int64_t h = 0; h < images_.height; ++h, x += images_.width)
        std::memcpy(image + c * images_.plane() + (images_.top + h) * images_.row() + images_.left, x,
                    static_cast<std::size_t>(images_.width) * sizeof(float));
  }

  PlanarConv conv_;
  const PlanarConvKernel& kernel_;
  Images images_;
  int threads_;
};

}  // namespace bitfold::engine
