// Affine quantization: grids, how to choose them, and conversion between reals and codes.
//
//   real = scale * (q - zero_point)                                                       (1)
//
// docs/internals/arithmetic.md derives everything here; numbers in brackets are its equations.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold {

/// The zero point of a grid.
enum class Scheme {
  symmetric,   ///< Fixed at the middle of the codes.
  asymmetric,  ///< Any code, so that all codes are used.
};
/// Which elements of a weight tensor share a grid.
enum class Granularity {
  per_tensor,   ///< All elements.
  per_channel,  ///< The elements of one output channel.
};

std::string_view to_string(Scheme scheme);
std::string_view to_string(Granularity granularity);
/// The inverse of to_string(). Both functions throw Error listing the valid words.
Scheme parse_scheme(std::string_view word);
Granularity parse_granularity(std::string_view word);

/// A grid of reals: one for a tensor, one for each index along an axis (a channel), or one for each block of
/// `block_size` neighbours along the axis. The last block of a row may be shorter.
struct QuantParams {
  /// Step size: one entry, or one per channel; each > 0 and finite. With blocks: one per block, row-major in
  /// grid_shape().
  std::vector<float> scale;
  std::vector<std::int32_t> zero_point;  ///< The code of real 0, within [qmin, qmax]; one for each scale.
  int bits = 8;                          ///< 2..16, or 32 for biases.
  bool is_signed = false;                ///< Whether codes are two's complement.
  bool narrow = false;          ///< Signed without the lowest code, so that the grid is symmetric: [-127, 127].
  int axis = -1;                ///< The axis of channels or blocks; -1 for one grid per tensor.
  std::int64_t block_size = 0;  ///< Elements along `axis` that share a grid; 0: no blocks. Constants only.

  /// The lowest and the highest code. Throw Error if `bits` is invalid, as storage() does.
  std::int32_t qmin() const;
  std::int32_t qmax() const;
  /// Whether there is more than one grid: one per channel or per block.
  bool per_channel() const { return axis >= 0; }
  bool has_blocks() const { return block_size > 0; }
  /// The shape that scales and zero points have for a tensor of shape `x`: a scalar, a row of channels, or x's shape
  /// with the axis divided by block_size, rounded up. Throws Error when the axis is outside x.
  Shape grid_shape(const Shape& x) const;
  /// The element type of codes, one code per element: int8 or uint8 up to 8 bits, int16 or uint16 up to 16, int32
  /// beyond.
  DataType storage() const;

  bool operator==(const QuantParams&) const = default;
};

/// The properties of a grid before its range is known.
struct GridSpec {
  int bits = 8;
  bool is_signed = false;
  Scheme scheme = Scheme::asymmetric;

  bool operator==(const GridSpec&) const = default;
};

/// The grid for reals in [min, max], widened to contain 0: equations (5) to (8). Symmetric signed grids are narrow; a
/// symmetric unsigned grid has the middle code as zero_point. A range of zero width gets scale 1. A scale is never
/// below the smallest normal float, so that division by it is safe. Throws Error if a bound is NaN or infinite, min >
/// max, or bits is outside 2..16.
QuantParams choose_params(float min, float max, const GridSpec& spec);

/// Equation (9): one grid per index along `axis`, from the minimum and maximum of that slice. `x` is float32. Throws
/// Error on NaN or infinite elements, naming the index of the first one.
QuantParams choose_params_per_channel(const Tensor& x, int axis, const GridSpec& spec);

/// One grid for each block of `block_size` elements along `axis`, from its own minimum and maximum. `x` is float32.
/// Throws Error on NaN or infinite elements, naming the first one's index.
QuantParams choose_params_per_block(const Tensor& x, int axis, std::int64_t block_size, const GridSpec& spec);

/// Equation (3): q = clamp(round_half_even(x / scale) + zero_point). The result has the shape of x and the type
/// params.storage(). Throws Error on NaN or infinity, naming the index and value of the first one.
Tensor quantize(const Tensor& x, const QuantParams& params);

/// Equation (1) in float32: q - zero_point is converted to float and multiplied by scale. `codes` has the type
/// params.storage() or is packed.
Tensor dequantize(const Tensor& codes, const QuantParams& params);

/// dequantize(quantize(x)): x moved to the nearest reals on the grid.
Tensor snap(const Tensor& x, const QuantParams& params);

/// The normative requantization (equation (16), invariant 3): t = float(accumulator) * multiplier is clamped to [qmin -
/// zero_point, qmax - zero_point] and rounded half to even; then zero_point is added.
std::int32_t requantize(std::int32_t accumulator, float multiplier, std::int32_t zero_point, std::int32_t qmin,
                        std::int32_t qmax);

/// Whether `dtype` can store the grid's codes: it is params.storage(), or a packed type of the same signedness with
/// enough bits.
bool can_hold_codes(DataType dtype, const QuantParams& params);

/// Equation (19): pack() converts codes of 2 or 4 bits, stored one per int8 or uint8 element, to the packed type of the
/// same signedness; unpack() converts back. Throws Error on a code that does not fit.
Tensor pack(const Tensor& codes, int bits);
Tensor unpack(const Tensor& packed);
/// One code per element: unpack() if the tensor is packed, otherwise the tensor itself.
Tensor unpacked(const Tensor& codes);

}  // namespace bitfold
