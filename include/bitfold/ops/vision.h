// Operators that sample images at computed positions.
#pragma once

#include <cstdint>
#include <vector>

namespace bitfold {

// Inputs in brackets are optional.

enum class RoiMode { average, max };
/// x [N,C,H,W], rois [R,4], batch indices [R] -> [R,C,output_height,output_width]
struct RoiAlign {
  RoiMode mode = RoiMode::average;
  bool half_pixel = true;  ///< False: output_half_pixel, the form before opset 16.
  std::int64_t output_height = 1, output_width = 1;
  std::int64_t sampling_ratio = 0;  ///< Samples per bin and axis; 0 means one per pixel of the bin.
  float spatial_scale = 1;
  bool operator==(const RoiAlign&) const = default;
};
/// x [N,C,H,W], rois [R,5] (batch index, corners)
struct MaxRoiPool {
  std::vector<std::int64_t> pooled_shape;
  float spatial_scale = 1;
  bool operator==(const MaxRoiPool&) const = default;
};
enum class SampleMode { linear, nearest, cubic };
enum class SamplePadding { zeros, border, reflection };
/// x [N,C,...], grid [N,...,rank] of positions in [-1, 1]
struct GridSample {
  SampleMode mode = SampleMode::linear;
  SamplePadding padding = SamplePadding::zeros;
  bool align_corners = false;
  bool operator==(const GridSample&) const = default;
};
/// theta [N,2,3] or [N,3,4], size [4 or 5] -> grid
struct AffineGrid {
  bool align_corners = false;
  bool operator==(const AffineGrid&) const = default;
};

}  // namespace bitfold
