#include "reference/image_layouts.h"

#include <algorithm>

#include "onednn/plain.h"
#include "ops/pool.h"

namespace bitfold::reference {

void put_channels_first(Held& held) {
  if (!held.has_channels_last) return;
  const Shape& shape = held.tensor.shape();
  Tensor first = Tensor::uninitialized(DataType::float32, shape);
  const std::int64_t pixels = held.tensor.size() / std::max<std::int64_t>(1, shape[0] * shape[1]);
  onednn::put_channels_first(shape[0], shape[1], pixels, held.tensor.data<float>().data(),
                             first.mutable_data<float>().data());
  held = {std::move(first), false};
}

std::size_t images_in_any_order(const Graph& graph, const Node& node) {
  const bool has_one_output = node.outputs.size() == 1 && node.outputs[0] != ValueId::none;
  if (!has_one_output || graph.value(node.outputs[0]).dtype != DataType::float32) return 0;
  if (const auto* pool = std::get_if<Pool>(&node.op))
    return pool->kind == PoolKind::max && pool->window.kernel.size() <= 2 ? 1 : 0;
  // The data inputs come first; the others must be scalars.
  const ops::OperatorInfo& row = ops::info(node.op);
  if (!row.traits.elementwise || row.evaluate == nullptr) return 0;
  const std::size_t images = ops::inputs_with(node, ops::Use::data).size();
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] == ValueId::none) continue;
    const auto& shape = graph.value(node.inputs[i]).shape;
    const bool is_data = ops::slot_at(row.inputs, i)->use == ops::Use::data;
    if (is_data != (i < images)) return 0;
    if (!is_data && (!shape || !is_static(*shape) || element_count(*shape) != 1)) return 0;
  }
  return images;
}

void run_channels_last(const Node& node, ops::Evaluate function, std::span<const TensorView> in,
                       std::span<const TensorView> out) {
  if (std::holds_alternative<Pool>(node.op)) return ops::max_pool_channels_last(node, in[0], out[0]);
  function(node, in, out);  // an elementwise operator
}

}  // namespace bitfold::reference
