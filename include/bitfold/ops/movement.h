// Operators that move, select or repeat elements.
#pragma once

#include <cstdint>
#include <vector>

namespace bitfold {

// Inputs in brackets are optional.

struct Concat {
  std::int64_t axis = 0;
  bool operator==(const Concat&) const = default;
};
/// x, [split]
struct Split {
  std::int64_t axis = 0;
  bool operator==(const Split&) const = default;
};
struct Flatten {
  std::int64_t axis = 1;
  bool operator==(const Flatten&) const = default;
};
/// x, shape
struct Reshape {
  bool allow_zero = false;
  bool operator==(const Reshape&) const = default;
};
struct Transpose {
  std::vector<std::int64_t> perm;  ///< Never empty.
  bool operator==(const Transpose&) const = default;
};
/// x, [axes]
struct Squeeze {
  bool operator==(const Squeeze&) const = default;
};
/// x, axes
struct Unsqueeze {
  bool operator==(const Unsqueeze&) const = default;
};
/// x, starts, ends, [axes], [steps]
struct Slice {
  bool operator==(const Slice&) const = default;
};
enum class PadMode { constant, reflect, edge, wrap };
/// x, pads, [value], [axes]
struct Pad {
  PadMode mode = PadMode::constant;
  bool operator==(const Pad&) const = default;
};
/// x, shape
struct Expand {
  bool operator==(const Expand&) const = default;
};
/// x, repeats
struct Tile {
  bool operator==(const Tile&) const = default;
};
enum class ResizeMode { nearest, linear, cubic };
enum class ResizeCoordinates {
  half_pixel,
  asymmetric,
  align_corners,
  pytorch_half_pixel,
  half_pixel_symmetric,
  tf_crop_and_resize,
};
enum class ResizeNearest { round_prefer_floor, round_prefer_ceil, floor, ceil };
/// How `sizes` treat the aspect ratio of the resized axes.
enum class ResizePolicy { stretch, not_larger, not_smaller };
/// x, [roi: tf_crop_and_resize only], [scales], [sizes]
struct Resize {
  ResizeMode mode = ResizeMode::nearest;
  ResizeCoordinates coordinates = ResizeCoordinates::half_pixel;
  ResizeNearest nearest = ResizeNearest::round_prefer_floor;
  float cubic_coeff_a = -0.75F;
  bool antialias = false;         ///< Widens the filter when an axis shrinks.
  bool exclude_outside = false;   ///< Gives weight 0 to elements outside the input, not to copies of its edge.
  float extrapolation_value = 0;  ///< tf_crop_and_resize only: the value outside the input.
  ResizePolicy policy = ResizePolicy::stretch;
  std::vector<std::int64_t> axes;  ///< The axes that roi, scales and sizes describe; empty means all.
  bool operator==(const Resize&) const = default;
};
struct DepthToSpace {
  std::int64_t block_size = 1;
  bool column_row_depth = false;
  bool operator==(const DepthToSpace&) const = default;
};
struct SpaceToDepth {
  std::int64_t block_size = 1;
  bool column_row_depth = false;
  bool operator==(const SpaceToDepth&) const = default;
};
/// x, lengths [batch]: reverses the first lengths[i] elements of row i.
struct ReverseSequence {
  std::int64_t batch_axis = 1, time_axis = 0;
  bool operator==(const ReverseSequence&) const = default;
};
/// x, shape: crops or pads with 0 around the centre.
struct CenterCropPad {
  std::vector<std::int64_t> axes;  ///< Empty means all.
  bool operator==(const CenterCropPad&) const = default;
};
/// x, [k]: keeps the upper or the lower triangle of each matrix, from diagonal k on.
struct Trilu {
  bool upper = true;
  bool operator==(const Trilu&) const = default;
};
/// x [N, C * block, L], image shape, block shape -> image [N, C, ...]: the sum of overlapping blocks.
struct Col2Im {
  std::vector<std::int64_t> dilations, pads, strides;
  bool operator==(const Col2Im&) const = default;
};

}  // namespace bitfold
