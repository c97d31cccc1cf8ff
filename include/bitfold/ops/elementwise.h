// Elementwise functions.
#pragma once

#include <cstdint>

#include "bitfold/reals.h"
#include "bitfold/tensor.h"

namespace bitfold {

// Inputs in brackets are optional.

enum class UnaryKind {
  identity,
  relu,
  sigmoid,
  tanh,
  exp,
  log,
  sqrt,
  reciprocal,
  abs,
  neg,
  sign,
  floor,
  ceil,
  round,
  erf,
  softplus,
  softsign,
  hard_swish,
  mish,
  gelu,
  sin,
  cos,
  logical_not,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
  is_nan,
  bitwise_not,
};
struct Unary {
  UnaryKind kind = UnaryKind::identity;
  bool operator==(const Unary&) const = default;
};
/// Elementwise functions with the parameters alpha and beta of the ONNX operator.
enum class ParametricKind { leaky_relu, elu, selu, celu, hard_sigmoid, thresholded_relu, swish, shrink };
struct Parametric {
  ParametricKind kind = ParametricKind::leaky_relu;
  float alpha = 0, beta = 0;  ///< selu: beta is gamma; shrink: alpha is lambd, beta is bias
  bool operator==(const Parametric&) const = default;
};
/// x, [min], [max] (scalars)
struct Clip {
  bool operator==(const Clip&) const = default;
};
/// x, slope
struct PRelu {
  bool operator==(const PRelu&) const = default;
};
enum class BinaryKind {
  add,
  sub,
  mul,
  div,
  pow,
  mod,
  equal,
  less,
  less_or_equal,
  greater,
  greater_or_equal,
  logical_and,
  logical_or,
  logical_xor,
  bitwise_and,
  bitwise_or,
  bitwise_xor,
};
/// a, b, numpy broadcasting
struct Binary {
  BinaryKind kind = BinaryKind::add;
  bool fmod = false;  ///< mod only: the remainder has the dividend's sign, as C's fmod, not the divisor's.
  bool operator==(const Binary&) const = default;
};
enum class VariadicKind { min, max, sum, mean };
/// one or more inputs, numpy broadcasting
struct Variadic {
  VariadicKind kind = VariadicKind::sum;
  bool operator==(const Variadic&) const = default;
};
/// condition, a, b
struct Where {
  bool operator==(const Where&) const = default;
};
/// The approximation of a Gelu by tanh: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
struct GeluTanh {
  bool operator==(const GeluTanh&) const = default;
};
struct IsInf {
  bool detect_negative = true, detect_positive = true;
  bool operator==(const IsInf&) const = default;
};
/// a, b: unsigned integers shifted by b bits
struct BitShift {
  bool left = true;
  bool operator==(const BitShift&) const = default;
};
/// a, b -> a * sigmoid(alpha a) * b
struct SwiGlu {
  float alpha = 1;
  bool operator==(const SwiGlu&) const = default;
};

struct Cast {
  DataType to = DataType::float32;
  bool saturate = true;  ///< For reals of 8 bits: whether numbers beyond their range become the largest one.
  RoundMode round_mode = RoundMode::up;  ///< For float8e8m0.
  bool operator==(const Cast&) const = default;
};
/// x, y -> x in the element type of y
struct CastLike {
  bool saturate = true;
  RoundMode round_mode = RoundMode::up;
  bool operator==(const CastLike&) const = default;
};
/// The same bits as another type of the same width.
struct BitCast {
  DataType to = DataType::float32;
  bool operator==(const BitCast&) const = default;
};

}  // namespace bitfold
