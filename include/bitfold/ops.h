// The operators a Graph is made of: small plain structs in a std::variant.
//
// Every op has the form of ONNX's newest opset: the axes of a Squeeze, the bounds of a Clip and the pads of a Pad are
// inputs of the Node. The importer turns the attributes of older opsets into constant inputs. Families share one struct
// with a kind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold {

/// ONNX auto_pad. The importer resolves same_* to explicit pads where the input's size is known.
enum class AutoPad { none, same_upper, same_lower, valid };

/// Spatial window shared by convolutions and pools. Each vector has one entry per spatial axis;
/// pads has the begins, then the ends. The importer fills defaults, so the vectors are never empty.
struct Window {
  std::vector<std::int64_t> kernel, strides, dilations, pads;
  AutoPad auto_pad = AutoPad::none;
  bool operator==(const Window&) const = default;
};

// Inputs in brackets are optional.

/// x [N,C,...], w [M,C/group,...], [bias [M]] -> [N,M,...]
struct Conv {
  Window window;
  std::int64_t group = 1;
  bool operator==(const Conv&) const = default;
};
/// x [N,C,...], w [C,M/group,...], [bias [M]]
struct ConvTranspose {
  Window window;
  std::int64_t group = 1;
  std::vector<std::int64_t> output_padding, output_shape;
  bool operator==(const ConvTranspose&) const = default;
};
/// alpha * A' * B' + beta * [C], A and B transposed on demand
struct Gemm {
  float alpha = 1, beta = 1;
  bool trans_a = false, trans_b = false;
  bool operator==(const Gemm&) const = default;
};
/// numpy.matmul
struct MatMul {
  bool operator==(const MatMul&) const = default;
};
/// x, gamma, beta, mean, variance; inference form
struct BatchNorm {
  float epsilon = 1e-5F;
  bool operator==(const BatchNorm&) const = default;
};
/// x, gamma, beta
struct InstanceNorm {
  float epsilon = 1e-5F;
  bool operator==(const InstanceNorm&) const = default;
};
/// x, gamma, [beta]
struct LayerNorm {
  std::int64_t axis = -1;
  float epsilon = 1e-5F;
  bool operator==(const LayerNorm&) const = default;
};
/// x, scale, bias; scale and bias have one number per channel
struct GroupNorm {
  std::int64_t num_groups = 1;
  float epsilon = 1e-5F;
  bool operator==(const GroupNorm&) const = default;
};
struct Lrn {
  std::int64_t size = 1;
  float alpha = 1e-4F, beta = 0.75F, bias = 1;
  bool operator==(const Lrn&) const = default;
};

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
};
struct Unary {
  UnaryKind kind = UnaryKind::identity;
  bool operator==(const Unary&) const = default;
};
/// Elementwise functions with the parameters alpha and beta of the ONNX operator.
enum class ParametricKind { leaky_relu, elu, selu, celu, hard_sigmoid, thresholded_relu };
struct Parametric {
  ParametricKind kind = ParametricKind::leaky_relu;
  float alpha = 0, beta = 0;  ///< selu: beta is gamma
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

enum class PoolKind { max, average };
struct Pool {
  PoolKind kind = PoolKind::max;
  Window window;
  bool ceil_mode = false;
  bool count_include_pad = false;  ///< average only
  bool operator==(const Pool&) const = default;
};
struct GlobalPool {
  PoolKind kind = PoolKind::average;
  bool operator==(const GlobalPool&) const = default;
};
enum class ReduceKind { sum, mean, max, min, prod, l1, l2, log_sum, log_sum_exp, sum_square };
/// x, [axes]
struct Reduce {
  ReduceKind kind = ReduceKind::mean;
  bool keepdims = true;
  bool noop_with_empty_axes = false;
  bool operator==(const Reduce&) const = default;
};
struct ArgReduce {
  bool is_max = true;
  std::int64_t axis = 0;
  bool keepdims = true;
  bool select_last_index = false;
  bool operator==(const ArgReduce&) const = default;
};
/// Softmax, or its logarithm if `log`. `flattened`: the form before opset 13, which normalizes over all axes from
/// `axis` on.
struct Softmax {
  std::int64_t axis = -1;
  bool log = false;
  bool flattened = false;
  bool operator==(const Softmax&) const = default;
};

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
/// x, indices
struct Gather {
  std::int64_t axis = 0;
  bool operator==(const Gather&) const = default;
};
/// How an update combines with the element it changes; `none`: the update replaces it.
enum class ScatterReduction { none, add, mul, min, max };
/// data, indices [..., k], updates. Each row of indices is a position along data's first k axes.
struct ScatterNd {
  ScatterReduction reduction = ScatterReduction::none;
  bool operator==(const ScatterNd&) const = default;
};
enum class PadMode { constant, reflect, edge };
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
struct ShapeOf {
  std::int64_t start = 0;
  std::optional<std::int64_t> end;
  bool operator==(const ShapeOf&) const = default;
};
/// shape -> filled with `value` (one element)
struct ConstantOfShape {
  Tensor value;
  bool operator==(const ConstantOfShape&) const = default;
};
/// start, limit, delta
struct Range {
  bool operator==(const Range&) const = default;
};
struct Cast {
  DataType to = DataType::float32;
  bool operator==(const Cast&) const = default;
};
enum class ResizeMode { nearest, linear, cubic };
enum class ResizeCoordinates { half_pixel, asymmetric, align_corners, pytorch_half_pixel };
enum class ResizeNearest { round_prefer_floor, round_prefer_ceil, floor, ceil };
/// x, [roi: always absent], [scales], [sizes]
struct Resize {
  ResizeMode mode = ResizeMode::nearest;
  ResizeCoordinates coordinates = ResizeCoordinates::half_pixel;
  ResizeNearest nearest = ResizeNearest::round_prefer_floor;
  float cubic_coeff_a = -0.75F;
  bool operator==(const Resize&) const = default;
};
struct DepthToSpace {
  std::int64_t block_size = 1;
  bool column_row_depth = false;
  bool operator==(const DepthToSpace&) const = default;
};

/// condition, captured values...; bodies: then, else. Each body reads the captured values, in the node's order.
struct If {
  bool operator==(const If&) const = default;
};
/// [trip count], [condition], carried values..., captured values... -> carried values, scan outputs. The body reads
/// iteration, condition, carried values, captured values; it gives condition, carried values, scan outputs.
struct Loop {
  std::int64_t captured = 0;  ///< How many of the last inputs are captured values.
  bool operator==(const Loop&) const = default;
};
/// States..., scan inputs..., captured values... -> states, scan outputs. The body reads states, one slice of each scan
/// input, captured values; it gives states and one slice of each scan output.
struct Scan {
  std::int64_t scan_inputs = 1;
  std::int64_t captured = 0;  ///< How many of the last inputs are captured values.
  /// Per scan input or output; empty means axis 0, forward.
  std::vector<std::int64_t> input_axes, input_directions, output_axes, output_directions;
  bool operator==(const Scan&) const = default;
};

/// Passes on the same reals; its output has another grid than its input, or none. Separates a consumer that reads the
/// snapped value from one that reads the unsnapped value.
struct Requantize {
  bool operator==(const Requantize&) const = default;
};

/// An operator, or a form of one, that Bitfold does not implement. Import and export keep it; running it is an Error
/// that names it.
struct Opaque {
  std::string domain, type;
  std::vector<std::string> attributes;  ///< Each a serialized onnx.AttributeProto.
  std::int64_t opset = 0;               ///< Version of the domain's operator set.
  std::string reason;                   ///< Why it is not one of Bitfold's operators; empty if none has its name.
  bool operator==(const Opaque&) const = default;
};

using Op =
    std::variant<Conv, ConvTranspose, Gemm, MatMul, BatchNorm, InstanceNorm, LayerNorm, GroupNorm, Lrn, Unary,
                 Parametric, Clip, PRelu, Binary, Variadic, Where, Pool, GlobalPool, Reduce, ArgReduce, Softmax, Concat,
                 Split, Flatten, Reshape, Transpose, Squeeze, Unsqueeze, Slice, Gather, ScatterNd, Pad, Expand, Tile,
                 ShapeOf, ConstantOfShape, Range, Cast, Resize, DepthToSpace, If, Loop, Scan, Requantize, Opaque>;

/// The ONNX operator type: "Conv", "LeakyRelu", "Add", "GlobalAveragePool"; an Opaque's own type.
std::string op_name(const Op& op);

}  // namespace bitfold
