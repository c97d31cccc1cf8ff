// Operators on codes. The importer turns those with constant grids into grids of values.
#pragma once

#include <cstdint>
#include <optional>

#include "bitfold/ops/linear.h"
#include "bitfold/tensor.h"

namespace bitfold {

// Inputs in brackets are optional.

/// x, scale, [zero point] -> codes
struct QuantizeLinear {
  /// The axis of a scale with several entries. Empty means 1; a scale of one entry then covers the whole tensor.
  std::optional<std::int64_t> axis;
  std::int64_t block_size = 0;           ///< 0 means no blocks.
  std::optional<DataType> output_dtype;  ///< Empty means the zero point's type, or uint8.
  bool saturate = true;                  ///< Affects 8-bit floats.
  bool operator==(const QuantizeLinear&) const = default;
};
/// codes, scale, [zero point]
struct DequantizeLinear {
  std::optional<std::int64_t> axis;      ///< As in QuantizeLinear.
  std::int64_t block_size = 0;           ///< 0 means no blocks.
  std::optional<DataType> output_dtype;  ///< Empty means the scale's type.
  bool operator==(const DequantizeLinear&) const = default;
};
/// x -> uint8 codes, scale, zero point
struct DynamicQuantizeLinear {
  bool operator==(const DynamicQuantizeLinear&) const = default;
};
/// x, its scale and zero point, w, its scale and zero point, y's scale and zero point, [bias]
struct QLinearConv {
  Window window;
  std::int64_t group = 1;
  bool operator==(const QLinearConv&) const = default;
};
/// a, its scale and zero point, b, its scale and zero point, y's scale and zero point
struct QLinearMatMul {
  bool operator==(const QLinearMatMul&) const = default;
};
/// x, w, [zero point of x], [zero point of w] -> int32
struct ConvInteger {
  Window window;
  std::int64_t group = 1;
  bool operator==(const ConvInteger&) const = default;
};
/// a, b, [zero point of a], [zero point of b] -> int32
struct MatMulInteger {
  bool operator==(const MatMulInteger&) const = default;
};

}  // namespace bitfold
