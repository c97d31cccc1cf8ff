#include "bitfold/ops.h"

#include <array>

namespace bitfold {
namespace {

// In the order of the enumerators.
constexpr std::array<const char*, 23> kUnaryNames{
    "Identity", "Relu",      "Sigmoid", "Tanh",  "Exp",  "Log",   "Sqrt", "Reciprocal",
    "Abs",      "Neg",       "Sign",    "Floor", "Ceil", "Round", "Erf",  "Softplus",
    "Softsign", "HardSwish", "Mish",    "Gelu",  "Sin",  "Cos",   "Not"};
constexpr std::array<const char*, 6> kParametricNames{"LeakyRelu", "Elu",         "Selu",
                                                      "Celu",      "HardSigmoid", "ThresholdedRelu"};
constexpr std::array<const char*, 14> kBinaryNames{
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
    "And", "Or",  "Xor"};
constexpr std::array<const char*, 4> kVariadicNames{"Min", "Max", "Sum", "Mean"};
constexpr std::array<const char*, 10> kReduceNames{"ReduceSum",       "ReduceMean",     "ReduceMax", "ReduceMin",
                                                   "ReduceProd",      "ReduceL1",       "ReduceL2",  "ReduceLogSum",
                                                   "ReduceLogSumExp", "ReduceSumSquare"};

template <std::size_t N, class Kind>
std::string pick(const std::array<const char*, N>& names, Kind kind) {
  return names.at(static_cast<std::size_t>(kind));
}

struct NameOf {
  std::string operator()(const Conv&) const { return "Conv"; }
  std::string operator()(const ConvTranspose&) const { return "ConvTranspose"; }
  std::string operator()(const Gemm&) const { return "Gemm"; }
  std::string operator()(const MatMul&) const { return "MatMul"; }
  std::string operator()(const BatchNorm&) const { return "BatchNormalization"; }
  std::string operator()(const InstanceNorm&) const { return "InstanceNormalization"; }
  std::string operator()(const LayerNorm&) const { return "LayerNormalization"; }
  std::string operator()(const Lrn&) const { return "LRN"; }
  std::string operator()(const Unary& op) const { return pick(kUnaryNames, op.kind); }
  std::string operator()(const Parametric& op) const { return pick(kParametricNames, op.kind); }
  std::string operator()(const Clip&) const { return "Clip"; }
  std::string operator()(const PRelu&) const { return "PRelu"; }
  std::string operator()(const Binary& op) const { return pick(kBinaryNames, op.kind); }
  std::string operator()(const Variadic& op) const { return pick(kVariadicNames, op.kind); }
  std::string operator()(const Where&) const { return "Where"; }
  std::string operator()(const Pool& op) const { return op.kind == PoolKind::max ? "MaxPool" : "AveragePool"; }
  std::string operator()(const GlobalPool& op) const {
    return op.kind == PoolKind::max ? "GlobalMaxPool" : "GlobalAveragePool";
  }
  std::string operator()(const Reduce& op) const { return pick(kReduceNames, op.kind); }
  std::string operator()(const ArgReduce& op) const { return op.is_max ? "ArgMax" : "ArgMin"; }
  std::string operator()(const Softmax& op) const { return op.log ? "LogSoftmax" : "Softmax"; }
  std::string operator()(const Concat&) const { return "Concat"; }
  std::string operator()(const Split&) const { return "Split"; }
  std::string operator()(const Flatten&) const { return "Flatten"; }
  std::string operator()(const Reshape&) const { return "Reshape"; }
  std::string operator()(const Transpose&) const { return "Transpose"; }
  std::string operator()(const Squeeze&) const { return "Squeeze"; }
  std::string operator()(const Unsqueeze&) const { return "Unsqueeze"; }
  std::string operator()(const Slice&) const { return "Slice"; }
  std::string operator()(const Gather&) const { return "Gather"; }
  std::string operator()(const Pad&) const { return "Pad"; }
  std::string operator()(const Expand&) const { return "Expand"; }
  std::string operator()(const Tile&) const { return "Tile"; }
  std::string operator()(const ShapeOf&) const { return "Shape"; }
  std::string operator()(const ConstantOfShape&) const { return "ConstantOfShape"; }
  std::string operator()(const Range&) const { return "Range"; }
  std::string operator()(const Cast&) const { return "Cast"; }
  std::string operator()(const Resize&) const { return "Resize"; }
  std::string operator()(const DepthToSpace&) const { return "DepthToSpace"; }
  std::string operator()(const Requantize&) const { return "Requantize"; }
  std::string operator()(const Opaque& op) const { return op.domain.empty() ? op.type : op.domain + "." + op.type; }
};

}  // namespace

std::string op_name(const Op& op) { return std::visit(NameOf{}, op); }

}  // namespace bitfold
