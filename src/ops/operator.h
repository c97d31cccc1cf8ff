// The operator table. One row contains all facts about an operator.
//
// A row is in its family's file (conv.cpp, reduce.cpp, ...), next to the operator's shape rule and its evaluation.
// Every other folder reads the row: the text form and the ONNX reader and writer use its fields, verify() its slots,
// Reference and Session its accepted types and its evaluation, and the planner its role. A new operator is a struct in
// include/bitfold/ops.h, a row, and a case in the sweep test.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/node.h"
#include "ops/bounds.h"
#include "ops/field.h"
#include "ops/infer.h"
#include "ops/type_set.h"
#include "ops/weight_matrix.h"

namespace bitfold::ops {

enum class Presence {
  required,
  optional,
  variadic,  ///< Any number of values, for the last slot only; at least one unless `optional` slots precede it.
};

/// How the operator uses the value in a slot.
enum class Use {
  data,       ///< Elements that the operator computes with or moves.
  weights,    ///< The constant factor of a product; gets a grid of its own.
  bias,       ///< Added to a product's accumulators.
  fill,       ///< The real that a Pad fills in.
  parameter,  ///< Axes, shapes, indices or bounds; never on a grid.
};

struct Slot {
  std::string_view name;  ///< ONNX's name: "X".
  TypeSet types;          ///< Element types that evaluate() accepts.
  /// Slots with the same letter have the same element type; 0 means independent.
  char group = 0;
  Presence presence = Presence::required;
  Use use = Use::data;
};

/// How the planner treats a node of the operator.
enum class Role {
  in_float,    ///< Runs in float.
  product,     ///< Multiplies by constant weights; the main target of quantization.
  movement,    ///< Moves or selects elements; inputs and outputs share one grid.
  clip,        ///< Clamps to constant bounds; an output grid that ends at the bounds replaces it.
  arithmetic,  ///< Every input and output has its own grid.
};

/// Facts about the computation. False is safe, except for the two that qualify moves_elements.
struct Traits {
  /// Output element i depends on the inputs' elements at i only, after numpy broadcasting.
  bool elementwise = false;
  /// Every output element is an element of a data input (or a fill value), unchanged.
  bool moves_elements = false;
  /// Qualifies moves_elements: which element goes where depends on the elements, as in MaxPool.
  bool selects_by_value = false;
  /// Changes only the shape: elements keep their order in memory.
  bool keeps_order = false;
  /// Every output element is a mean or an extreme of elements of the first input.
  bool averages = false;
  /// f(s x) = s f(x) for every s > 0, in all data inputs together.
  bool commutes_with_positive_scale = false;
  /// Reads the shapes of its inputs but not their elements.
  bool reads_shape_only = false;
  /// Channels (axis 1) do not mix: output channel c depends on channel c of the data inputs only.
  bool keeps_channels = false;
  /// Output element i depends on element i of the first input and on the parameters of its channel only.
  bool is_channelwise = false;
  /// Qualifies moves_elements: elements may change channels (axis 1) although the number of channels stays.
  bool permutes_channels = false;
  /// Leaves alone every axis that its input 'axes' does not name.
  bool acts_along_axes = false;
  /// Two runs with equal inputs may differ; never folded.
  bool is_random = false;
};

/// Inputs and outputs are in the node's order; an absent optional one is a view without data. Output views have the
/// type and shape given by the row's infer function. Inputs and outputs do not overlap. Memory allocated does not grow
/// with the data, except for lists along one axis. Throws Error beginning with the node if the data is invalid.
using Evaluate = void (*)(const Node& node, std::span<const TensorView> inputs, std::span<const TensorView> outputs);
/// For outputs whose shape depends on the data; allocates them.
using EvaluateDynamic = std::vector<Tensor> (*)(const Node& node, std::span<const TensorView> inputs);
/// Types and shapes of the outputs. Throws Error (without the place) if the shapes contradict the operator.
using Infer = Outputs (*)(const Inputs& inputs);
/// Completes a node read from a file with facts about its inputs: kernel_shape from the weights, perm from the rank.
/// Returns the reason if Bitfold lacks this form of the operator.
using Settle = std::optional<std::string> (*)(Op& op, const Inputs& inputs);
/// A view of weights of that shape; none if the operator rejects the shape.
using ViewWeights = std::optional<WeightMatrix> (*)(const Op& op, const Shape& weights);
/// Multiply-accumulates per run.
using CountMacs = std::int64_t (*)(const Node& node, std::span<const Shape> inputs, std::span<const Shape> outputs);

struct OperatorInfo {
  std::string_view name;         ///< ONNX's operator type.
  std::string_view domain = {};  ///< Empty means ai.onnx.
  /// The first opset with this form. Import lifts older forms to it, and export lowers it to older opsets
  /// (onnx/lift.h, onnx/lower_opset.h).
  int since = 1;
  Op prototype;  ///< The struct with every attribute at its default.
  std::vector<Slot> inputs, outputs;
  std::vector<Field> fields = {};
  Infer infer = nullptr;
  Evaluate evaluate = nullptr;                 ///< Null if evaluate_dynamic is set, or the operator cannot be run.
  EvaluateDynamic evaluate_dynamic = nullptr;  ///< Set if the output shapes depend on the data.
  Settle settle = nullptr;
  Traits traits = {};
  Role role = Role::in_float;
  /// The reason why a node of the operator runs in float in spite of its role; none if it does not.
  std::optional<std::string_view> (*why_in_float)(const Op& op) = nullptr;
  /// Whether the trait moves_elements and the role movement apply to this node; null means always.
  bool (*moves_when)(const Op& op) = nullptr;
  /// Whether this node writes the real of its slot with Use::fill, 0 if that is absent; null means never.
  bool (*fills_when)(const Op& op) = nullptr;
  BoundsRule bounds = nullptr;         ///< Null if nothing is known.
  ViewWeights view_weights = nullptr;  ///< Set for the role product.
  CountMacs macs = nullptr;
  /// Whether the operator does not exist in files: Requantize, Opaque.
  bool is_internal = false;
  /// The attributes that hold the bodies of If, Loop and Scan.
  std::vector<std::string_view> bodies = {};
  /// The name in the text form, if two rows have one name in ONNX: an attribute of the first one selects the other.
  std::string_view other_name = {};

  std::string_view text_name() const { return other_name.empty() ? name : other_name; }
};

/// The row of an operator; every Op has one.
const OperatorInfo& info(const Op& op);
/// All rows, family by family.
std::span<const OperatorInfo> all_operators();
/// The row with that name in any domain, for the text form, where names are unique. Null if there is none.
const OperatorInfo* find_operator_named(std::string_view name);
/// Null if the table has no such operator.
const OperatorInfo* find_operator(std::string_view domain, std::string_view name);

/// The slot of input (or output) `index` of a node; a variadic last slot repeats. Null past the end.
const Slot* slot_at(std::span<const Slot> slots, std::size_t index);
/// The present inputs with that use, in order.
std::vector<ValueId> inputs_with(const Node& node, Use use);
/// The input with that use; ValueId::none if it is absent.
ValueId input_with(const Node& node, Use use);
/// The input in the slot of that name; ValueId::none if it is absent.
ValueId input_named(const Node& node, std::string_view name);
inline bool moves_elements(const Op& op) {
  const OperatorInfo& row = info(op);
  return row.traits.moves_elements && (row.moves_when == nullptr || row.moves_when(op));
}
inline bool fills(const Op& op) {
  const OperatorInfo& row = info(op);
  return row.fills_when != nullptr && row.fills_when(op);
}
/// See OperatorInfo::why_in_float.
inline std::optional<std::string_view> why_in_float(const Op& op) {
  const OperatorInfo& row = info(op);
  return row.why_in_float == nullptr ? std::nullopt : row.why_in_float(op);
}
/// Bounds of the node's outputs; `inputs` are in its order.
inline RealBounds bounds_of(const Op& op, std::span<const RealBounds> inputs) {
  const OperatorInfo& row = info(op);
  return row.bounds == nullptr ? RealBounds{} : row.bounds(op, inputs);
}
/// None for operators other than products.
inline std::optional<WeightMatrix> weight_matrix(const Op& op, const Shape& weights) {
  const OperatorInfo& row = info(op);
  return row.view_weights == nullptr ? std::nullopt : row.view_weights(op, weights);
}
/// The window of a convolution or pool; null for other operators.
const Window* window_of(const Op& op);
/// Whether it is that member of a family: is<Binary>(op, BinaryKind::add).
template <class Family>
bool is(const Op& op, decltype(Family::kind) kind) {
  const auto* member = std::get_if<Family>(&op);
  return member != nullptr && member->kind == kind;
}

/// Throws Error (without the place) if a node has too few or too many inputs, outputs or bodies, or lacks a required
/// one.
void check_slots(const Node& node);
/// The reason, by slot and type, why the node cannot be evaluated on these types: "input 'X' is float16; accepted:
/// float32". Empty if it can.
std::optional<std::string> why_not_accepted(const Node& node, std::span<const ValueInfo> inputs,
                                            std::span<const ValueInfo> outputs);

// The families, each in its own file.
std::vector<OperatorInfo> conv_operators();       ///< Conv, ConvTranspose
std::vector<OperatorInfo> matrix_operators();     ///< Gemm, MatMul
std::vector<OperatorInfo> normalize_operators();  ///< BatchNormalization, LayerNormalization, LRN, Softmax, ...
std::vector<OperatorInfo> pool_operators();       ///< MaxPool, GlobalAveragePool, ...
std::vector<OperatorInfo> lp_pool_operators();    ///< LpPool, GlobalLpPool, MaxUnpool
std::vector<OperatorInfo> unary_operators();      ///< Relu, Sigmoid, LeakyRelu, Clip, ...
std::vector<OperatorInfo> cast_operators();       ///< Cast
std::vector<OperatorInfo> binary_operators();     ///< Add, Min, Where, PRelu, ...
std::vector<OperatorInfo> reduce_operators();     ///< ReduceSum, ArgMax, CumSum, Hardmax, ...
std::vector<OperatorInfo> join_operators();       ///< Concat, Split
std::vector<OperatorInfo> reshape_operators();    ///< Reshape, Transpose, Squeeze, ...
std::vector<OperatorInfo> index_operators();      ///< Slice, Gather, Pad, ...
std::vector<OperatorInfo> fill_operators();       ///< Expand, Tile, Shape, Size, ConstantOfShape, Range, EyeLike
std::vector<OperatorInfo> resize_operators();     ///< Resize
std::vector<OperatorInfo> control_operators();    ///< If, Loop, Scan
std::vector<OperatorInfo> scatter_operators();    ///< GatherElements, GatherND, ScatterElements, ScatterND, ...
std::vector<OperatorInfo> select_operators();     ///< TopK, OneHot, NonZero, Unique, Compress
std::vector<OperatorInfo> box_operators();        ///< NonMaxSuppression, RoiAlign, MaxRoiPool
std::vector<OperatorInfo> sample_operators();     ///< GridSample, AffineGrid, DeformConv
std::vector<OperatorInfo> spectrum_operators();   ///< DFT, STFT, HannWindow, MelWeightMatrix, ...
std::vector<OperatorInfo> recurrent_operators();  ///< RNN, GRU, LSTM
std::vector<OperatorInfo> attention_operators();  ///< Attention, RotaryEmbedding, LinearAttention, CausalConvWithState
std::vector<OperatorInfo> code_operators();       ///< QuantizeLinear, DequantizeLinear, ConvInteger, ...
std::vector<OperatorInfo> random_operators();     ///< RandomNormal, Bernoulli, Multinomial, ...
std::vector<OperatorInfo> loss_operators();       ///< NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss
std::vector<OperatorInfo> einsum_operators();     ///< Einsum, Det
std::vector<OperatorInfo> arrange_operators();    ///< DepthToSpace, ReverseSequence, Trilu, Col2Im, ...
std::vector<OperatorInfo> sequence_operators();   ///< SequenceAt, SplitToSequence, ...
std::vector<OperatorInfo> optional_operators();   ///< Optional, OptionalHasElement, OptionalGetElement
std::vector<OperatorInfo> text_operators();       ///< StringConcat, RegexFullMatch, ...
std::vector<OperatorInfo> symbol_operators();     ///< LabelEncoder, TfIdfVectorizer
std::vector<OperatorInfo> internal_operators();   ///< Requantize, Opaque

}  // namespace bitfold::ops
