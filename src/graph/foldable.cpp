#include "graph/foldable.h"

#include <algorithm>

#include "ops/operator.h"

namespace bitfold {
namespace {

/// Whether the type is one of the few that may be folded: the reference computes nearly all operators on them.
bool is_plain(DataType dtype) {
  return dtype == DataType::float32 || dtype == DataType::int32 || dtype == DataType::int64 ||
         dtype == DataType::boolean;
}

}  // namespace

bool is_foldable(const Graph& graph, NodeId id, std::span<const ValueInfo> infos) {
  const Node& node = graph.node(id);
  const ops::OperatorInfo& row = ops::info(node.op);
  if (row.is_internal || row.traits.is_random || row.evaluate == nullptr) return false;
  std::int64_t input_size = 0;
  for (ValueId in : node.inputs) {
    if (in == ValueId::none) continue;
    const Value& value = graph.value(in);
    if (!value.constant || value.quant || !is_plain(value.constant->dtype())) return false;
    input_size = std::max(input_size, value.constant->size());
  }
  for (ValueId out : node.outputs) {
    if (out == ValueId::none) continue;
    const ValueInfo& info = infos[static_cast<std::size_t>(out)];
    if (graph.is_output(out) || graph.value(out).quant || !is_plain(info.dtype)) return false;
    if (!info.shape || !is_static(*info.shape)) return false;
    if (element_count(*info.shape) > std::max(input_size, kMaxFoldedElements)) return false;
  }
  return true;
}

}  // namespace bitfold
