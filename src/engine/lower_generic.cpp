// Operators without a step of their own: the operator's plain evaluation on reals.
//
// Elementwise operators do not depend on the order of elements, so they accept channels-last values. All others read
// and write the plain layout.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "engine/lowering.h"
#include "engine/steps/generic.h"
#include "onednn/plain.h"
#include "ops/operator.h"
#include "ops/products.h"

namespace bitfold::engine {
namespace {

/// The dimensions of an image in the order of its elements in memory.
Shape channels_last(const Shape& s) { return s.size() == 3 ? Shape{s[0], s[2], s[1]} : Shape{s[0], s[2], s[3], s[1]}; }

/// `s` extended to `rank` by leading ones. Empty if more than one dimension differs from 1, because then the order of
/// elements depends on the layout.
std::optional<Shape> widened(const Shape& s, std::size_t rank) {
  if (s.size() > rank || std::count_if(s.begin(), s.end(), [](auto d) { return d != 1; }) > 1) return std::nullopt;
  Shape wide(rank - s.size(), 1);
  wide.insert(wide.end(), s.begin(), s.end());
  return wide;
}

/// The rank of the first output.
std::size_t rank_of(const Lowering& l, const Node& node) {
  return node.outputs[0] == ValueId::none ? 0 : l.shape(node.outputs[0]).size();
}

bool can_stay_channels_last(const Lowering& l, const Node& node) {
  bool any = false;
  const std::size_t rank = rank_of(l, node);
  if (rank != 3 && rank != 4) return false;
  for (ValueId output : node.outputs)
    if (output == ValueId::none || l.shape(output).size() != rank) return false;
  for (ValueId input : node.inputs) {
    if (input == ValueId::none) continue;
    if (!l.graph.is_constant(input) && l.layout(input) == Layout::channels_last) any = true;
    if (l.shape(input).size() != rank && !widened(l.shape(input), rank)) return false;
  }
  return any;
}

GenericStep::View input_view(Lowering& l, ValueId id, Layout layout, std::size_t rank, int& buffer) {
  if (id == ValueId::none) return {};
  const Shape& shape = l.shape(id);
  const bool moves = layout == Layout::channels_last && !widened(shape, rank);
  const Slot slot = l.reals(id, moves ? Layout::channels_last : Layout::plain);
  buffer = slot.buffer;
  if (layout == Layout::plain) return {slot.dtype, shape, true};
  return {slot.dtype, channels_last(moves ? shape : *widened(shape, rank)), true};
}

/// Products that oneDNN's primitives do not cover, such as a Gemm of two computed matrices: one call for each matrix.
void multiply(const Node& node, std::span<const TensorView> in, std::span<const TensorView> out) {
  ops::evaluate_products(node.op, in, out[0], onednn::multiply_matrices);
}

}  // namespace

void lower_generic(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const bool is_product = ops::is_matrix_product(node.op) && l.dtype(node.outputs[0]) == DataType::float32;
  const ops::Evaluate function = is_product ? multiply : ops::info(node.op).evaluate;
  check(function != nullptr, "{} cannot be run", where(l.graph, id));
  const bool stays = ops::info(node.op).traits.elementwise && can_stay_channels_last(l, node);
  const Layout layout = stays ? Layout::channels_last : Layout::plain;

  std::vector<int> read, written;
  std::vector<GenericStep::View> inputs, outputs;
  std::vector<std::pair<ValueId, Slot>> results;
  for (ValueId input : node.inputs) {
    int buffer = -1;
    inputs.push_back(input_view(l, input, layout, rank_of(l, node), buffer));
    if (buffer >= 0) read.push_back(buffer);
  }
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId output = node.outputs[i];
    if (output == ValueId::none) {
      // The evaluation reads the shape of an unused output (such as a part of a Split) but writes no data to it.
      const ValueInfo unused = l.output_info(id, i);
      outputs.push_back({unused.dtype, *unused.shape, false});
      continue;
    }
    const Slot slot = l.make(output, false, layout);
    outputs.push_back({slot.dtype, layout == Layout::plain ? slot.shape : channels_last(slot.shape), true});
    written.push_back(slot.buffer);
    results.emplace_back(output, slot);
  }
  auto& step = l.add(std::make_unique<GenericStep>(node, function, std::move(inputs), std::move(outputs)), node.name,
                     op_name(node.op), (is_product ? "onednn sgemm" : "reference") + l.explanation(id));
  for (int buffer : written) step.add_operand(buffer, Access::write);
  for (int buffer : read) step.add_operand(buffer, Access::read);
  for (ValueId input : node.inputs)
    if (input != ValueId::none && !l.graph.is_constant(input)) step.info.inputs.push_back(l.graph.value(input).name);
  for (auto& [value, slot] : results) {
    step.info.outputs.push_back(l.graph.value(value).name);
    l.define_reals(value, slot);
  }
}

std::optional<std::vector<float>> evaluate_elementwise(const Lowering& l, const Node& node, std::size_t count,
                                                       const FindReals& find) {
  const ops::OperatorInfo& row = ops::info(node.op);
  if (!row.traits.elementwise || row.evaluate == nullptr || row.inputs.front().use != ops::Use::data ||
      node.outputs.size() != 1 || l.dtype(node.outputs[0]) != DataType::float32)
    return std::nullopt;
  const Shape many{static_cast<std::int64_t>(count)}, one{1};
  const auto bytes = [](const float* reals) { return reinterpret_cast<std::byte*>(const_cast<float*>(reals)); };
  std::vector<float> scalars(node.inputs.size()), result(count);
  std::vector<TensorView> inputs;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (const std::vector<float>* reals = find(i)) {
      inputs.push_back({DataType::float32, many, bytes(reals->data())});  // read only
    } else if (node.inputs[i] == ValueId::none) {
      inputs.push_back({DataType::float32, one, nullptr});
    } else if (const auto scalar = l.constant_scalar(node.inputs[i])) {
      scalars[i] = *scalar;
      inputs.push_back({DataType::float32, one, bytes(&scalars[i])});
    } else {
      return std::nullopt;
    }
  }
  const TensorView output{DataType::float32, many, bytes(result.data())};
  row.evaluate(node, inputs, {&output, 1});
  return result;
}

bool lower_gather(Lowering& l, NodeId id) {
  const Node& node = l.graph.node(id);
  const ops::OperatorInfo& row = ops::info(node.op);
  const bool moves = row.evaluate != nullptr && ops::moves_elements(node.op) && !row.traits.selects_by_value &&
                     !ops::fills(node.op) && row.inputs.front().use == ops::Use::data &&
                     ops::inputs_with(node, ops::Use::data).size() == 1;
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto grid = l.code_grid(y);
  const std::int64_t count = element_count(l.shape(x));
  // Indices pass through the operator as float32, which is exact below 2^24.
  if (!moves || !grid || count >= (1 << 24) || node.outputs.size() != 1) return false;
  std::vector<float> indices(static_cast<std::size_t>(count)),
      moved(static_cast<std::size_t>(element_count(l.shape(y))));
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<float>(i);
  std::vector<Tensor> held;
  std::vector<TensorView> inputs{{DataType::float32, l.shape(x), reinterpret_cast<std::byte*>(indices.data())}};
  held.reserve(node.inputs.size());
  for (std::size_t i = 1; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    if (input == ValueId::none) {
      inputs.emplace_back();
    } else if (const auto& constant = l.graph.value(input).constant) {
      held.push_back(*constant);
      inputs.push_back({constant->dtype(), l.shape(input), held.back().mutable_bytes()});
    } else if (const auto known = l.elements(input); known && l.dtype(input) == DataType::int64) {
      held.push_back(Tensor::from<std::int64_t>(l.shape(input), *known));
      inputs.push_back({DataType::int64, l.shape(input), held.back().mutable_bytes()});
    } else {
      return false;
    }
  }
  const TensorView output{DataType::float32, l.shape(y), reinterpret_cast<std::byte*>(moved.data())};
  row.evaluate(node, inputs, {&output, 1});
  const Slot source = l.codes(x, Layout::plain), destination = l.make(y, true, Layout::plain);
  std::vector<std::int32_t> from(moved.size());
  std::transform(moved.begin(), moved.end(), from.begin(), [](float i) { return static_cast<std::int32_t>(i); });
  auto& step = l.add(std::make_unique<GatherStep>(std::move(from)), node.name, op_name(node.op), "gather");
  step.add_operand(destination.buffer, Access::write);
  step.add_operand(source.buffer, Access::read);
  step.info.is_integer = true;
  step.info.inputs = {l.graph.value(x).name};
  step.info.outputs = {l.graph.value(y).name};
  l.define(y, l.regridded(node.name, destination, *l.code_grid(x), *grid));
  return true;
}

}  // namespace bitfold::engine
