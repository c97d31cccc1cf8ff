// Checks the guarantees of each stage of a graph.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.h"
#include "bitfold/graph.h"
#include "graph/foldable.h"
#include "graph/linear_layer.h"
#include "numeric/release_pages.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

void verify_nodes(const Graph& graph) {
  std::map<std::string_view, NodeId> names;
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (!node.name.empty()) {
      const auto [it, fresh] = names.try_emplace(node.name, id);
      check(fresh, "{} has the same name as {}", where(graph, id), where(graph, it->second));
    }
    try {
      ops::check_slots(node);
    } catch (const Error& e) {
      fail("{} {}", where(graph, id), e.what());
    }
    for (ValueId in : node.inputs)
      check(in == ValueId::none || graph.producer(in) != NodeId::none || graph.is_input(in) || graph.is_constant(in),
            "{} reads '{}', which nothing produces", where(graph, id), in == ValueId::none ? "" : graph.value(in).name);
  }
  for (ValueId out : graph.outputs())
    check(graph.producer(out) != NodeId::none || graph.is_input(out) || graph.is_constant(out),
          "nothing produces the graph output '{}'", graph.value(out).name);
}

void verify_imported(const Graph& graph) {
  verify_nodes(graph);
  infer_values(graph);  // throws on cycles and contradictory shapes
}

/// The reference supports nearly all operators on floats, and few on other types.
bool reads_floats(const Graph& graph, NodeId id) {
  return std::ranges::all_of(graph.node(id).inputs, [&](ValueId in) { return plain_constant(graph, in) != nullptr; });
}

void verify_optimized(const Graph& graph) {
  const auto infos = infer_values(graph);
  for (NodeId id : graph.nodes()) {
    check(!folds_backward(graph, id), "{} could be folded into {}", where(graph, id),
          folds_backward(graph, id) ? where(graph, graph.producer(graph.node(id).inputs[0])) : "");
    check(!(reads_floats(graph, id) && is_foldable(graph, id, infos)),
          "{} has only constant inputs: it could be computed now", where(graph, id));
  }
}

/// The subject of an error: "[Conv 'c'] output 'y'" or "constant 'w'".
std::string where_value(const Graph& graph, ValueId id) {
  const NodeId producer = graph.producer(id);
  const char* what = graph.is_constant(id) ? "constant" : graph.is_input(id) ? "graph input" : "value";
  if (producer == NodeId::none) return fmt::format("{} '{}'", what, graph.value(id).name);
  return fmt::format("{} output '{}'", where(graph, producer), graph.value(id).name);
}

template <class T>
void check_codes(const Tensor& codes, const QuantParams& grid, const std::string& at) {
  const auto data = codes.data<T>();
  const std::int32_t low = grid.qmin(), high = grid.qmax();
  for (std::size_t i = 0; i < data.size(); ++i)
    check(data[i] >= low && data[i] <= high, "{} has code {} at {}, outside [{}, {}]", at,
          static_cast<std::int32_t>(data[i]), i, low, high);
}

void verify_codes(const Tensor& held, const QuantParams& grid, const std::string& at) {
  check(can_hold_codes(held.dtype(), grid), "{} has codes of type {}; a grid of {} {} bits needs {}", at,
        to_string(held.dtype()), grid.is_signed ? "signed" : "unsigned", grid.bits, to_string(grid.storage()));
  const Tensor codes = unpacked(held);
  switch (grid.storage()) {
    case DataType::int8:
      check_codes<std::int8_t>(codes, grid, at);
      break;
    case DataType::uint8:
      check_codes<std::uint8_t>(codes, grid, at);
      break;
    case DataType::int16:
      check_codes<std::int16_t>(codes, grid, at);
      break;
    case DataType::uint16:
      check_codes<std::uint16_t>(codes, grid, at);
      break;
    default:
      return;  // every int32 is a valid code
  }
  release_mapped_pages(held);
}

void verify_grid(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  const QuantParams& grid = *value.quant;
  const std::string at = where_value(graph, id);
  check((grid.bits >= 2 && grid.bits <= 16) || grid.bits == 32, "{} has a grid of {} bits; it must have 2 to 16, or 32",
        at, grid.bits);
  check(value.dtype == DataType::float32, "{} has a grid, but its reals are {} instead of float32", at,
        to_string(value.dtype));
  check(!grid.scale.empty() && grid.scale.size() == grid.zero_point.size(),
        "{} has {} scales and {} zero points; their numbers must be equal and positive", at, grid.scale.size(),
        grid.zero_point.size());
  for (std::size_t i = 0; i < grid.scale.size(); ++i) {
    check(std::isfinite(grid.scale[i]) && grid.scale[i] > 0, "{} has scale {} at {}; it must be positive and finite",
          at, grid.scale[i], i);
    check(grid.zero_point[i] >= grid.qmin() && grid.zero_point[i] <= grid.qmax(),
          "{} has zero_point {} at {}, outside [{}, {}]", at, grid.zero_point[i], i, grid.qmin(), grid.qmax());
  }
  check(grid.block_size >= 0, "{} has blocks of {} elements; the size must not be negative", at, grid.block_size);
  check(!grid.has_blocks() || grid.per_channel(), "{} has blocks of {} elements, but no axis", at, grid.block_size);
  check(!grid.has_blocks() || value.constant.has_value(),
        "{} has a grid in blocks of {} elements; only constants can have one", at, grid.block_size);
  if (!grid.per_channel()) {
    check(grid.scale.size() == 1, "{} has {} scales, but no channel axis; expected one scale", at, grid.scale.size());
  } else if (grid.has_blocks()) {
    const Shape& shape = value.constant->shape();
    check(static_cast<std::size_t>(grid.axis) < shape.size(), "{} has blocks along axis {}, but shape {}", at,
          grid.axis, to_string(shape));
    const Shape blocks = grid.grid_shape(shape);
    check(element_count(blocks) == std::ssize(grid.scale), "{} has {} scales for blocks of shape {}", at,
          grid.scale.size(), to_string(blocks));
  } else if (value.shape) {
    const auto axis = static_cast<std::size_t>(grid.axis);
    check(axis < value.shape->size(), "{} has channel axis {}, but shape {}", at, axis, to_string(*value.shape));
    const std::int64_t size = (*value.shape)[axis];
    check(size == kDynamic || size == std::ssize(grid.scale), "{} has {} scales for {} channels", at, grid.scale.size(),
          size);
  }
  if (value.constant) verify_codes(*value.constant, grid, at);
}

/// An int32 bias is added to the accumulator, so it must have the accumulator's grid: scale s_x * s_w[c], zero_point 0.
void verify_bias(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const ValueId b = ops::input_with(node, ops::Use::bias);
  if (b == ValueId::none) return;
  const auto* gemm = std::get_if<Gemm>(&node.op);
  if (gemm != nullptr && (gemm->alpha != 1 || gemm->beta != 1)) return;  // the layer does not run in integers
  const auto& x = graph.value(node.inputs[0]).quant;
  const auto& w = graph.value(node.inputs[1]).quant;
  const auto& bias = graph.value(b).quant;
  if (!x || !w || !bias || bias->bits != 32 || x->per_channel() || w->has_blocks()) return;
  const std::string& name = graph.value(b).name;
  check(w->scale.size() == 1 || bias->scale.size() == 1 || w->scale.size() == bias->scale.size(),
        "{} bias '{}' has {} scales, the weights have {}", where(graph, id), name, bias->scale.size(), w->scale.size());
  for (std::size_t c = 0; c < std::max(w->scale.size(), bias->scale.size()); ++c) {
    const auto pick = [c](const auto& v) { return v[v.size() == 1 ? 0 : c]; };
    const double expected = static_cast<double>(x->scale[0]) * static_cast<double>(pick(w->scale));
    const auto found = static_cast<double>(pick(bias->scale));
    check(pick(bias->zero_point) == 0, "{} bias '{}' has zero_point {} at channel {}, expected 0", where(graph, id),
          name, pick(bias->zero_point), c);
    // The product is rounded to float once; a subnormal one may be off by more than its last digit.
    check(std::abs(found - expected) <= 1e-6 * expected + 2e-45,
          "{} bias '{}' has scale {} at channel {}, expected input scale * weight scale = {}", where(graph, id), name,
          found, c, expected);
  }
}

void verify_quantized(const Graph& graph) {
  for (ValueId id : graph.values())
    if (graph.value(id).quant) verify_grid(graph, id);
  for (NodeId id : graph.nodes()) verify_bias(graph, id);
}

}  // namespace

void verify(const Graph& graph, Stage stage) {
  verify_imported(graph);
  if (stage == Stage::imported) return;
  verify_optimized(graph);
  if (stage == Stage::quantized) verify_quantized(graph);
}

}  // namespace bitfold
