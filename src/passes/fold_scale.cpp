// Folds multiplications and additions of constants per channel into the layer before them, and a Gemm's alpha and beta
// into its constants.
//
//   Conv(x) * c + d  =  (c W) x + (c b + d)
#include <algorithm>
#include <cmath>

#include "passes/rewrite.h"

namespace bitfold {
namespace {

/// One number per channel, if the constant broadcasts along axis 1 of a value of `rank` axes without changing its
/// shape.
std::optional<std::vector<double>> per_channel(const Tensor& constant, std::size_t rank, std::int64_t channels) {
  const Shape& shape = constant.shape();
  if (shape.size() > rank) return std::nullopt;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool is_channel_axis = i + rank - shape.size() == 1;
    if (shape[i] != 1 && !(is_channel_axis && shape[i] == channels)) return std::nullopt;
  }
  const auto data = constant.data<float>();
  if (!std::all_of(data.begin(), data.end(), [](float v) { return std::isfinite(v); })) return std::nullopt;
  std::vector<double> out(static_cast<std::size_t>(channels));
  for (std::size_t c = 0; c < out.size(); ++c) out[c] = static_cast<double>(data[data.size() == 1 ? 0 : c]);
  return out;
}

/// Sets scale and shift so that y = scale * x + shift equals the Binary operation; returns false if it has another
/// form.
bool as_scale_and_shift(BinaryKind kind, bool is_constant_first, std::vector<double>& scale,
                        std::vector<double>& shift) {
  scale.assign(shift.size(), 1.0);
  switch (kind) {
    case BinaryKind::add:
      return true;
    case BinaryKind::sub:
      if (is_constant_first) std::fill(scale.begin(), scale.end(), -1.0);
      if (!is_constant_first) std::transform(shift.begin(), shift.end(), shift.begin(), std::negate<>());
      return true;
    case BinaryKind::mul:
      std::swap(scale, shift);
      std::fill(shift.begin(), shift.end(), 0.0);
      return true;
    case BinaryKind::div:
      if (is_constant_first || std::find(shift.begin(), shift.end(), 0.0) != shift.end()) return false;
      std::transform(shift.begin(), shift.end(), scale.begin(), [](double d) { return 1.0 / d; });
      std::fill(shift.begin(), shift.end(), 0.0);
      return true;
    default:
      return false;
  }
}

bool fold_binary(Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const auto* op = std::get_if<Binary>(&node.op);
  if (op == nullptr || node.inputs.size() != 2) return false;
  const bool is_constant_first = plain_constant(graph, node.inputs[0]) != nullptr;
  const Tensor* constant = plain_constant(graph, node.inputs[is_constant_first ? 0 : 1]);
  const ValueId x = node.inputs[is_constant_first ? 1 : 0];
  const auto layer = rewritable_producer(graph, x);
  const auto& shape = graph.value(x).shape;
  if (constant == nullptr || !layer || !shape) return false;
  auto shift = per_channel(*constant, shape->size(), layer->weights.output_count());
  std::vector<double> scale;
  if (!shift || !as_scale_and_shift(op->kind, is_constant_first, scale, *shift)) return false;
  scale_and_shift(graph, *layer, scale, *shift);
  absorb_into(graph, layer->node, id);
  return true;
}

Tensor multiplied(const Tensor& tensor, float factor) {
  Tensor out = tensor;
  for (float& v : out.mutable_data<float>())
    v = static_cast<float>(static_cast<double>(v) * static_cast<double>(factor));
  return out;
}

bool fold_alpha(Graph& graph, NodeId id, Gemm& gemm) {
  const ValueId weight = graph.node(id).inputs[1];
  const Tensor* constant = plain_constant(graph, weight);
  if (gemm.alpha == 1 || constant == nullptr || weight == graph.node(id).inputs[0]) return false;
  const std::string stem = graph.value(weight).name;
  set_constant_input(graph, id, 1, multiplied(*constant, gemm.alpha), stem);
  gemm.alpha = 1;
  return true;
}

bool fold_beta(Graph& graph, NodeId id, Gemm& gemm) {
  const Node& node = graph.node(id);
  if (gemm.beta == 1) return false;
  if (node.inputs.size() > 2 && node.inputs[2] != ValueId::none) {
    const Tensor* constant = plain_constant(graph, node.inputs[2]);
    if (gemm.beta == 0) {
      graph.resize_inputs(id, 2);  // with beta = 0, ONNX does not read C
    } else if (constant != nullptr) {
      const std::string stem = graph.value(node.inputs[2]).name;
      set_constant_input(graph, id, 2, multiplied(*constant, gemm.beta), stem);
    } else {
      return false;
    }
  }
  gemm.beta = 1;
  return true;
}

}  // namespace

int fold_scale(Graph& graph) {
  int changes = 0;
  for (NodeId id : graph.topological_order()) {
    if (auto* gemm = std::get_if<Gemm>(&graph.op(id))) {
      changes += fold_alpha(graph, id, *gemm) ? 1 : 0;
      changes += fold_beta(graph, id, *gemm) ? 1 : 0;
    } else {
      changes += fold_binary(graph, id) ? 1 : 0;
    }
  }
  return changes;
}

}  // namespace bitfold
