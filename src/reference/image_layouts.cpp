#include "reference/image_layouts.h"

#include <algorithm>

#include "onednn/plain.h"

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
  if (std::holds_alternative<Unary>(node.op) || std::holds_alternative<Parametric>(node.op)) return 1;
  if (std::holds_alternative<Binary>(node.op)) return 2;
  if (const auto* pool = std::get_if<Pool>(&node.op))
    return pool->kind == PoolKind::max && pool->window.kernel.size() <= 2 ? 1 : 0;
  return std::holds_alternative<Clip>(node.op) ? 1 : 0;
}

void run_channels_last(const Node& node, OpFunction function, std::span<const TensorView> in,
                       std::span<const TensorView> out) {
  if (std::holds_alternative<Pool>(node.op)) return max_pool_channels_last(node, in[0], out[0]);
  function(node, in, out);  // element by element
}

}  // namespace bitfold::reference
