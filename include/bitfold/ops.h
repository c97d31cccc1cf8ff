// The operators a Graph is made of: small plain structs, one of which an Op holds.
//
// Every op has the form of ONNX's newest opset: the axes of a Squeeze, the bounds of a Clip and the pads of a Pad are
// inputs of the Node. The importer turns the attributes of older opsets into constant inputs. Families share one struct
// with a kind.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "bitfold/ops/attention.h"
#include "bitfold/ops/control.h"
#include "bitfold/ops/elementwise.h"
#include "bitfold/ops/generate.h"
#include "bitfold/ops/index.h"
#include "bitfold/ops/linear.h"
#include "bitfold/ops/movement.h"
#include "bitfold/ops/normalize.h"
#include "bitfold/ops/quantized.h"
#include "bitfold/ops/recurrent.h"
#include "bitfold/ops/sequence.h"
#include "bitfold/ops/signal.h"
#include "bitfold/ops/text.h"
#include "bitfold/ops/vision.h"

namespace bitfold {

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
  std::string reason;                   ///< Why Bitfold lacks this form; empty if it has no operator of this name.
  bool operator==(const Opaque&) const = default;
};
using OpVariant = std::variant<
    Conv, ConvTranspose, Gemm, MatMul, BatchNorm, InstanceNorm, LayerNorm, GroupNorm, Lrn, Unary, Parametric, Clip,
    PRelu, Binary, Variadic, Where, Pool, GlobalPool, Reduce, ArgReduce, Softmax, Concat, Split, Flatten, Reshape,
    Transpose, Squeeze, Unsqueeze, Slice, Gather, ScatterNd, Pad, Expand, Tile, ShapeOf, ConstantOfShape, Range, Cast,
    Resize, DepthToSpace, If, Loop, Scan, Requantize, Opaque, Einsum, Det, DeformConv, RmsNorm, LpNorm,
    MeanVarianceNorm, LpPool, GlobalLpPool, MaxUnpool, Hardmax, Cumulative, NegativeLogLikelihoodLoss,
    SoftmaxCrossEntropyLoss, GeluTanh, IsInf, BitShift, SwiGlu, CastLike, BitCast, SpaceToDepth, ReverseSequence,
    CenterCropPad, Trilu, Col2Im, GatherElements, GatherNd, ScatterElements, TensorScatter, TopK, OneHot, NonZero,
    Unique, Compress, NonMaxSuppression, SizeOf, EyeLike, RandomTensor, RandomLike, Bernoulli, Multinomial, Dft, Stft,
    WindowFunction, MelWeightMatrix, RoiAlign, MaxRoiPool, GridSample, AffineGrid, Recurrent, Attention,
    RotaryEmbedding, LinearAttention, CausalConvWithState, QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear,
    QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, SequenceEmpty, SequenceConstruct, SequenceInsert,
    SequenceErase, SequenceAt, SequenceLength, SplitToSequence, ConcatFromSequence, MakeOptional, OptionalHasElement,
    OptionalGetElement, StringConcat, StringSplit, StringNormalizer, RegexFullMatch, LabelEncoder, TfIdfVectorizer>;

template <class T, class Variant>
inline constexpr bool is_alternative = false;
template <class T, class... Alternatives>
inline constexpr bool is_alternative<T, std::variant<Alternatives...>> = (std::is_same_v<T, Alternatives> || ...);
/// One of the structs of OpVariant.
template <class T>
concept IsOperator = is_alternative<T, OpVariant>;

/// An operator with its attributes. std::get, std::get_if, std::holds_alternative and std::visit work as for a variant.
/// The special members of a variant have one case per alternative; this class compiles them once instead of in every
/// source file, which more than halves the time that the library takes to compile.
class Op : public OpVariant {
 public:
  Op();
  template <IsOperator T>
  Op(T op) : OpVariant(std::in_place_type<T>, std::move(op)) {}
  Op(const Op& other);
  Op(Op&& other) noexcept;
  Op& operator=(const Op& other);
  Op& operator=(Op&& other) noexcept;
  ~Op();

  bool operator==(const Op& other) const;
};

/// The ONNX operator type: "Conv", "LeakyRelu", "Add", "GlobalAveragePool"; an Opaque's own type.
std::string op_name(const Op& op);

}  // namespace bitfold
