#include "quantize/roles.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/check.h"
#include "graph/activation.h"

namespace bitfold::quantization {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_float(const Graph& graph, ValueId id) { return graph.value(id).dtype == DataType::float32; }

std::string quoted(const Graph& graph, ValueId id) { return fmt::format("'{}'", graph.value(id).name); }

ValueId input(const Graph& graph, NodeId id, std::size_t slot) {
  const auto& inputs = graph.node(id).inputs;
  return slot < inputs.size() ? inputs[slot] : ValueId::none;
}

Classified refuse(std::string reason) { return {Role::none, std::move(reason)}; }

// Shared by the products: data in `slot 0`, constant float weights of `rank` in slot 1.
std::string weight_problem(const Graph& graph, NodeId id, std::size_t rank) {
  const ValueId x = input(graph, id, 0), w = input(graph, id, 1);
  if (!graph.is_constant(w)) return "its weights are not constant";
  if (graph.is_constant(x)) return "its input is constant";
  const Value& weights = graph.value(w);
  if (weights.quant) return "its weights have a grid already";
  if (weights.constant->dtype() != DataType::float32)
    return fmt::format("its weights are {}", to_string(weights.constant->dtype()));
  if (weights.constant->rank() != static_cast<int>(rank))
    return fmt::format("its weights have {} dimensions; {} can run in integers", weights.constant->rank(), rank);
  return weights.constant->size() == 0 ? "its weights are empty" : "";
}

std::string bias_problem(const Graph& graph, NodeId id, std::int64_t channels) {
  const ValueId b = input(graph, id, 2);
  if (b == ValueId::none) return "";
  if (!graph.is_constant(b)) return "its bias is not constant";
  const Value& bias = graph.value(b);
  if (bias.quant || bias.constant->dtype() != DataType::float32) return "its bias is not float32";
  const std::int64_t size = bias.constant->size();
  const bool is_row = size == channels && bias.constant->rank() >= 1 && bias.constant->shape().back() == channels;
  return is_row || size == 1
             ? ""
             : fmt::format("its bias of shape {} is not one number per output", to_string(bias.constant->shape()));
}

Classified product(std::string problem) {
  return problem.empty() ? Classified{Role::product, ""} : refuse(std::move(problem));
}

struct Classifier {
  const Graph& graph;
  NodeId id;

  Classified operator()(const Conv&) const {
    std::string problem = weight_problem(graph, id, 4);
    if (problem.empty()) problem = bias_problem(graph, id, graph.value(input(graph, id, 1)).constant->dim(0));
    return product(std::move(problem));
  }
  Classified operator()(const Gemm& op) const {
    std::string problem = op.trans_a ? "its input is transposed" : weight_problem(graph, id, 2);
    if (problem.empty())
      problem = bias_problem(graph, id, graph.value(input(graph, id, 1)).constant->dim(op.trans_b ? 0 : 1));
    return product(std::move(problem));
  }
  Classified operator()(const MatMul&) const { return product(weight_problem(graph, id, 2)); }
  Classified operator()(const ConvTranspose&) const { return refuse("transposed convolutions run in float"); }

  Classified operator()(const Unary& op) const {
    switch (op.kind) {
      case UnaryKind::relu:
        return follower(Role::clip);
      case UnaryKind::identity:
        return follower(Role::movement);
      case UnaryKind::sigmoid:
      case UnaryKind::tanh:
      case UnaryKind::hard_swish:
      case UnaryKind::mish:
      case UnaryKind::gelu:
      case UnaryKind::softplus:
      case UnaryKind::abs:
        return follower(Role::arithmetic);
      default:
        return refuse("the operator runs in float");
    }
  }
  Classified operator()(const Parametric&) const { return follower(Role::arithmetic); }
  Classified operator()(const Clip&) const {
    if (!find_clamp(graph, id)) return refuse("its bounds are not constant");
    return follower(Role::clip);
  }
  Classified operator()(const Binary& op) const {
    if (op.kind != BinaryKind::add && op.kind != BinaryKind::mul) return refuse("the operator runs in float");
    return follower(Role::arithmetic);
  }
  Classified operator()(const GlobalPool& op) const {
    return follower(op.kind == PoolKind::max ? Role::movement : Role::arithmetic);
  }
  Classified operator()(const Pool& op) const {
    if (used_outputs(graph, id).size() > 1) return refuse("its indices are used");
    return follower(op.kind == PoolKind::max ? Role::movement : Role::arithmetic);
  }
  Classified operator()(const Pad& op) const {
    const ValueId value = input(graph, id, 2);
    const bool pads_zero =
        op.mode != PadMode::constant || value == ValueId::none || scalar_constant(graph, value) == 0.0F;
    return pads_zero ? follower(Role::movement) : refuse("it pads with something other than 0");
  }
  Classified operator()(const Resize& op) const {
    return op.mode == ResizeMode::nearest ? follower(Role::movement) : refuse("it interpolates");
  }
  Classified operator()(const Concat&) const { return follower(Role::movement); }
  Classified operator()(const Split&) const { return follower(Role::movement); }
  Classified operator()(const Flatten&) const { return follower(Role::movement); }
  Classified operator()(const Reshape&) const { return follower(Role::movement); }
  Classified operator()(const Transpose&) const { return follower(Role::movement); }
  Classified operator()(const Squeeze&) const { return follower(Role::movement); }
  Classified operator()(const Unsqueeze&) const { return follower(Role::movement); }
  Classified operator()(const Slice&) const { return follower(Role::movement); }
  Classified operator()(const DepthToSpace&) const { return follower(Role::movement); }
  Classified operator()(const Opaque&) const { return refuse("the operator is unknown"); }
  template <class Other>
  Classified operator()(const Other&) const {
    return refuse("the operator runs in float");
  }

  // A node that runs in integers where its neighbours do.
  Classified follower(Role role) const {
    for (ValueId in : data_inputs(graph, id)) {
      if (graph.is_constant(in)) return refuse(fmt::format("its input {} is constant", quoted(graph, in)));
      if (!is_float(graph, in))
        return refuse(fmt::format("its input {} is {}", quoted(graph, in), to_string(graph.value(in).dtype)));
    }
    return {role, ""};
  }
};

bool reads_data_everywhere(const Op& op) {
  return std::holds_alternative<Binary>(op) || std::holds_alternative<Concat>(op);
}

}  // namespace

std::vector<ValueId> data_inputs(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (!reads_data_everywhere(node.op))
    return node.inputs.empty() ? std::vector<ValueId>{} : std::vector{node.inputs[0]};
  std::vector<ValueId> inputs;
  for (ValueId in : node.inputs)
    if (std::find(inputs.begin(), inputs.end(), in) == inputs.end()) inputs.push_back(in);
  return inputs;
}

std::vector<ValueId> used_outputs(const Graph& graph, NodeId id) {
  std::vector<ValueId> outputs;
  for (ValueId out : graph.node(id).outputs)
    if (out != ValueId::none) outputs.push_back(out);
  return outputs;
}

Classified classify(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const bool computes_float = std::any_of(node.outputs.begin(), node.outputs.end(),
                                          [&](ValueId out) { return out != ValueId::none && is_float(graph, out); });
  if (!computes_float) return refuse("it computes no float32 value");
  if (node.inputs.empty() || node.inputs[0] == ValueId::none) return refuse("it has no data input");
  return std::visit(Classifier{graph, id}, node.op);
}

}  // namespace bitfold::quantization
