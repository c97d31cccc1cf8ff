// Converts QuantizeLinear / DequantizeLinear nodes to grids. qdq.h describes the two forms.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"
#include "numeric/release_pages.h"
#include "onnx/qdq.h"

namespace bitfold {
namespace {

struct QdqAttributes {
  std::optional<std::int64_t> axis;
  std::int64_t block_size = 0;  ///< 0: no blocks.
  std::optional<DataType> output_dtype;
};

QdqAttributes attributes_of(const Op& op) {
  if (const auto* quantize = std::get_if<QuantizeLinear>(&op))
    return {quantize->axis, quantize->block_size, quantize->output_dtype};
  const auto& dequantize = std::get<DequantizeLinear>(op);
  return {dequantize.axis, dequantize.block_size, std::nullopt};
}

const Tensor* plain_constant(const Graph& graph, const std::vector<ValueId>& inputs, std::size_t slot) {
  if (slot >= inputs.size() || !graph.is_constant(inputs[slot])) return nullptr;
  const Value& value = graph.value(inputs[slot]);
  return value.quant ? nullptr : &*value.constant;
}

template <class T>
void append(const Tensor& tensor, std::vector<std::int32_t>& to) {
  for (T value : tensor.data<T>()) to.push_back(value);
}

std::vector<std::int32_t> to_int32(const Tensor& tensor) {
  const Tensor codes = unpacked(tensor);
  std::vector<std::int32_t> values;
  switch (codes.dtype()) {
    case DataType::int8:
      append<std::int8_t>(codes, values);
      break;
    case DataType::uint8:
      append<std::uint8_t>(codes, values);
      break;
    case DataType::int16:
      append<std::int16_t>(codes, values);
      break;
    case DataType::uint16:
      append<std::uint16_t>(codes, values);
      break;
    case DataType::int32:
      append<std::int32_t>(codes, values);
      break;
    default:
      fail("zero_point has type {}, which is not a type of codes", to_string(tensor.dtype()));
  }
  return values;
}

bool holds_codes(DataType dtype) {
  switch (dtype) {
    case DataType::int8:
    case DataType::uint8:
    case DataType::int16:
    case DataType::uint16:
    case DataType::int32:
    case DataType::int4:
    case DataType::uint4:
    case DataType::int2:
    case DataType::uint2:
      return true;
    default:
      return false;
  }
}

bool is_signed_type(DataType dtype) {
  return dtype == DataType::int8 || dtype == DataType::int16 || dtype == DataType::int32 || dtype == DataType::int4 ||
         dtype == DataType::int2;
}

// The axis of a scale with several entries; none if one grid covers the whole tensor. A scale [1] is per channel only
// if the node names an axis of length 1.
std::optional<int> channel_axis(const Tensor& scale, std::optional<std::int64_t> axis,
                                const std::optional<Shape>& shape) {
  if (scale.rank() == 0) return -1;
  const bool has_rank = shape.has_value();
  const auto rank = has_rank ? static_cast<std::int64_t>(shape->size()) : 0;
  std::int64_t at = axis.value_or(1);
  if (at < 0) {
    if (!has_rank) return scale.size() == 1 ? std::optional(-1) : std::nullopt;
    at += rank;
  }
  const bool in_range = at >= 0 && (has_rank ? at < rank : at < 64);
  const std::int64_t channels = has_rank && in_range ? (*shape)[static_cast<std::size_t>(at)] : kDynamic;
  if (scale.size() == 1 && !(axis && in_range && channels == 1)) return -1;
  check(in_range, "axis {} does not exist in a tensor of rank {}", axis.value_or(1), rank);
  check(channels == kDynamic || channels == scale.size(), "has {} scales for {} channels (axis {})", scale.size(),
        channels, at);
  return static_cast<int>(at);
}

// The axis of the blocks of a constant. Throws Error if the scales do not fit the constant.
int block_axis(const Shape& x, const QdqAttributes& given, const Shape& scale) {
  const auto rank = static_cast<std::int64_t>(x.size());
  const std::int64_t named = given.axis.value_or(1), axis = named < 0 ? named + rank : named;
  check(axis >= 0 && axis < rank, "axis {} does not exist in a tensor of rank {}", named, rank);
  const QuantParams blocks{.axis = static_cast<int>(axis), .block_size = given.block_size};
  const Shape expected = blocks.grid_shape(x);
  check(scale == expected, "has scales of shape {}; blocks of {} along axis {} of shape {} need {}", to_string(scale),
        given.block_size, axis, to_string(x), to_string(expected));
  return static_cast<int>(axis);
}

// The grid that a node's scale and zero_point describe, for codes of `code_type`. None if no grid expresses them, for
// example blocks of a computed value.
std::optional<QuantParams> read_grid(const Graph& graph, const std::vector<ValueId>& inputs, const QdqAttributes& given,
                                     DataType code_type) {
  const Tensor* scale = plain_constant(graph, inputs, 1);
  const bool has_zero_point = inputs.size() > 2 && inputs[2] != ValueId::none;
  const Tensor* zero_point = plain_constant(graph, inputs, 2);
  if (scale == nullptr || (has_zero_point && zero_point == nullptr)) return std::nullopt;
  const bool has_blocks = given.block_size > 0;
  if (has_blocks && !graph.is_constant(inputs[0])) return std::nullopt;
  if (scale->dtype() != DataType::float32 || (scale->rank() > 1 && !has_blocks) || scale->size() == 0)
    return std::nullopt;
  if (!holds_codes(code_type) || (zero_point != nullptr && zero_point->dtype() != code_type)) return std::nullopt;
  const std::optional<int> axis =
      has_blocks ? std::optional(block_axis(graph.value(inputs[0]).constant->shape(), given, scale->shape()))
                 : channel_axis(*scale, given.axis, graph.value(inputs[0]).shape);
  if (!axis) return std::nullopt;

  QuantParams grid{.bits = bit_width(code_type),
                   .is_signed = is_signed_type(code_type),
                   .axis = *axis,
                   .block_size = given.block_size};
  const auto scales = scale->data<float>();
  grid.scale.assign(scales.begin(), scales.end());
  for (float s : grid.scale) check(s > 0 && std::isfinite(s), "scale is {}; it must be positive and finite", s);
  grid.zero_point = zero_point ? to_int32(*zero_point) : std::vector<std::int32_t>(grid.scale.size(), 0);
  check(grid.zero_point.size() == grid.scale.size(), "has {} zero_points for {} scales; their numbers must be equal",
        grid.zero_point.size(), grid.scale.size());
  check(!has_blocks || zero_point == nullptr || zero_point->shape() == scale->shape(),
        "has zero_points of shape {} and scales of shape {}; they must be equal",
        zero_point ? to_string(zero_point->shape()) : "", to_string(scale->shape()));
  return grid;
}

DataType quantized_type(const Graph& graph, const std::vector<ValueId>& inputs, const QdqAttributes& given) {
  if (const Tensor* zero_point = plain_constant(graph, inputs, 2)) return zero_point->dtype();
  return given.output_dtype.value_or(DataType::uint8);
}

// A QuantizeLinear whose codes are read only by DequantizeLinear nodes with the same grid.
struct Pair {
  NodeId quantize;
  std::vector<NodeId> dequantizes;
  QuantParams grid;
};

std::optional<Pair> match_pair(const Graph& graph, NodeId id) {
  if (!is_quantize(graph.node(id).op)) return std::nullopt;
  const ValueId codes = graph.node(id).outputs[0];
  const ValueId x = graph.node(id).inputs[0];
  if (codes == ValueId::none || graph.is_output(codes) || graph.consumers(codes).empty()) return std::nullopt;
  if (x == ValueId::none || graph.value(x).dtype != DataType::float32) return std::nullopt;
  try {
    const auto grid = quantize_grid(graph, id);
    if (!grid) return std::nullopt;
    const QdqAttributes given = attributes_of(graph.node(id).op);
    const DataType code_type = quantized_type(graph, graph.node(id).inputs, given);
    for (NodeId reader : graph.consumers(codes)) {
      const Node& node = graph.node(reader);
      if (!is_dequantize(node.op) || node.inputs[0] != codes || node.outputs[0] == ValueId::none) return std::nullopt;
      if (dequantize_grid(graph, reader, code_type) != grid) return std::nullopt;
    }
    return Pair{id, graph.consumers(codes), *grid};
  } catch (const Error& error) {
    fail("{} {}", where(graph, id), error.what());
  }
}

// Whether the grid may be set on x itself: nothing may read x unsnapped.
bool grid_fits_on(const Graph& graph, ValueId x, const Pair& pair, const QdqMarks& marks) {
  if (graph.is_output(x) || graph.is_constant(x)) return false;
  if (graph.value(x).quant) return graph.value(x).quant == pair.grid && !marks.requantizes.contains(pair.quantize);
  const auto agrees = [&](NodeId reader) {
    if (marks.requantizes.contains(reader)) return false;
    if (reader == pair.quantize) return true;
    const auto other = match_pair(graph, reader);
    return other && other->grid == pair.grid && graph.node(reader).inputs[0] == x;
  };
  const auto& readers = graph.consumers(x);
  return std::all_of(readers.begin(), readers.end(), agrees);
}

void put_on_value(Graph& graph, ValueId x, const Pair& pair) {
  graph.value(x).quant = pair.grid;
  std::vector<ValueId> snapped;
  for (NodeId id : pair.dequantizes) snapped.push_back(graph.node(id).outputs[0]);
  graph.remove_node(pair.quantize);
  for (std::size_t i = 0; i < snapped.size(); ++i) {
    const ValueId y = snapped[i];
    const NodeId dequantize = pair.dequantizes[i];
    if (graph.is_output(y) && (graph.is_input(x) || graph.is_output(x))) {
      // x is a graph input or output and y a graph output: both names must stay, so y becomes a copy of x.
      graph.op(dequantize) = Requantize{};
      graph.resize_inputs(dequantize, 1);
      graph.set_input(dequantize, 0, x);
      graph.value(y).quant = pair.grid;
      continue;
    }
    if (!graph.value(x).shape) graph.value(x).shape = graph.value(y).shape;
    graph.remove_node(dequantize);
    graph.replace_value(y, x);
  }
}

void put_requantize(Graph& graph, const Pair& pair) {
  const ValueId first = graph.node(pair.dequantizes[0]).outputs[0];
  for (std::size_t i = 1; i < pair.dequantizes.size(); ++i) {
    const NodeId dequantize = pair.dequantizes[i];
    const ValueId y = graph.node(dequantize).outputs[0];
    if (graph.is_output(y)) {
      graph.op(dequantize) = Requantize{};
      graph.resize_inputs(dequantize, 1);
      graph.set_input(dequantize, 0, first);
      graph.value(y).quant = pair.grid;
    } else {
      graph.remove_node(dequantize);
      graph.replace_uses(y, first);
    }
  }
  graph.remove_node(pair.dequantizes[0]);
  graph.op(pair.quantize) = Requantize{};
  graph.resize_inputs(pair.quantize, 1);
  graph.set_output(pair.quantize, 0, first);
  graph.value(first).quant = pair.grid;
}

// Removes a Clip that was exported as part of a grid: its reader takes the Clip's input.
void splice_grid_clip(Graph& graph, NodeId quantize, const QdqMarks& marks) {
  const NodeId clip = graph.producer(graph.node(quantize).inputs[0]);
  if (clip == NodeId::none || !marks.grid_clips.contains(clip)) return;
  if (!graph.has_single_consumer(graph.node(clip).outputs[0])) return;
  graph.set_input(quantize, 0, graph.node(clip).inputs[0]);
  graph.remove_node(clip);
}

template <class T>
bool all_within(const Tensor& codes, std::int32_t low, std::int32_t high) {
  const auto values = codes.data<T>();
  return std::all_of(values.begin(), values.end(), [&](T code) { return code >= low && code <= high; });
}

bool codes_within(const Tensor& held, std::int32_t low, std::int32_t high) {
  const Tensor codes = unpacked(held);
  switch (codes.dtype()) {
    case DataType::int8:
      return all_within<std::int8_t>(codes, low, high);
    case DataType::uint8:
      return all_within<std::uint8_t>(codes, low, high);
    case DataType::int16:
      return all_within<std::int16_t>(codes, low, high);
    case DataType::uint16:
      return all_within<std::uint16_t>(codes, low, high);
    case DataType::int32:
      return all_within<std::int32_t>(codes, low, high);
    default:
      return false;
  }
}

bool all_finite(const Tensor& reals) {
  return std::ranges::all_of(reals.data<float>(), [](float v) { return std::isfinite(v); });
}

void read_bits(const std::string& text, const Value& value, QuantParams& grid) {
  int bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  check(error == std::errc{} && end == text.data() + text.size() && bits >= 2 && bits <= grid.bits,
        "value '{}': metadata says '{}' bits, its type has {}", value.name, text, grid.bits);
  grid.bits = bits;
}

}  // namespace

bool is_quantize(const Op& op) { return std::holds_alternative<QuantizeLinear>(op); }
bool is_dequantize(const Op& op) { return std::holds_alternative<DequantizeLinear>(op); }

std::optional<QuantParams> quantize_grid(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const QdqAttributes given = attributes_of(node.op);
  return read_grid(graph, node.inputs, given, quantized_type(graph, node.inputs, given));
}

std::optional<QuantParams> dequantize_grid(const Graph& graph, NodeId id, DataType code_type) {
  const Node& node = graph.node(id);
  return read_grid(graph, node.inputs, attributes_of(node.op), code_type);
}

DataType file_type(const Value& value) {
  const QuantParams& grid = *value.quant;
  if (!value.constant || grid.bits > 4) return grid.storage();
  if (bit_width(value.constant->dtype()) < 8) return value.constant->dtype();
  return grid.is_signed ? DataType::int4 : DataType::uint4;
}

bool infers_narrow(const Value& value) {
  const QuantParams& grid = *value.quant;
  if (!value.constant || !grid.is_signed || grid.bits > 8) return false;
  if (std::any_of(grid.zero_point.begin(), grid.zero_point.end(), [](auto z) { return z != 0; })) return false;
  const std::int32_t highest = (1 << (grid.bits - 1)) - 1;
  const bool is_narrow = codes_within(*value.constant, -highest, highest);
  release_mapped_pages(*value.constant);
  return is_narrow;
}

std::optional<Value> fold_constant_qdq(const Graph& graph, const Op& op, const std::vector<ValueId>& inputs) {
  const Tensor* x = plain_constant(graph, inputs, 0);
  if (x == nullptr) return std::nullopt;
  const QdqAttributes given = attributes_of(op);
  const bool quantizes = is_quantize(op);
  const DataType code_type = quantizes ? quantized_type(graph, inputs, given) : x->dtype();
  const auto grid = read_grid(graph, inputs, given, code_type);
  if (!grid || (quantizes && (x->dtype() != DataType::float32 || grid->bits == 32))) return std::nullopt;
  if (quantizes && !all_finite(*x)) return std::nullopt;  // such as a mask of -inf, which saturates when it is run
  Value result{.shape = x->shape()};
  if (quantizes) {
    const Tensor codes = quantize(*x, *grid);
    result.constant = bit_width(code_type) < 8 ? pack(codes, bit_width(code_type)) : codes;
    result.dtype = code_type;
  } else {
    result.constant = *x;
    result.quant = grid;
  }
  return result;
}

void absorb_qdq(Graph& graph, const QdqMarks& marks) {
  dequantize_before_movements(graph);
  for (NodeId id : graph.topological_order()) {
    if (!is_quantize(graph.node(id).op) || graph.node(id).inputs.empty()) continue;
    const ValueId clipped = graph.node(id).inputs[0];
    if (clipped == ValueId::none) continue;
    const auto pair = match_pair(graph, id);
    if (!pair) continue;
    splice_grid_clip(graph, id, marks);
    const ValueId x = graph.node(id).inputs[0];
    if (grid_fits_on(graph, x, *pair, marks))
      put_on_value(graph, x, *pair);
    else
      put_requantize(graph, *pair);
  }
}

void settle_grids(Graph& graph) {
  for (ValueId id : graph.values()) {
    Value& value = graph.value(id);
    if (!value.quant) continue;
    QuantParams& grid = *value.quant;
    const auto bits = graph.metadata.find(kBitsKey + value.name);
    if (bits != graph.metadata.end()) read_bits(bits->second, value, grid);
    const auto narrow = graph.metadata.find(kNarrowKey + value.name);
    grid.narrow = narrow != graph.metadata.end() ? narrow->second == "true" : infers_narrow(value);
    check(!grid.narrow || grid.is_signed, "value '{}': metadata says that its unsigned grid is narrow", value.name);
    check(!value.constant || codes_within(*value.constant, grid.qmin(), grid.qmax()),
          "value '{}' has codes outside [{}, {}], the range of its {} bits", value.name, grid.qmin(), grid.qmax(),
          grid.bits);
    if (value.constant) release_mapped_pages(*value.constant);
    for (std::int32_t z : grid.zero_point)
      check(z >= grid.qmin() && z <= grid.qmax(), "value '{}' has the zero_point {} outside [{}, {}]", value.name, z,
            grid.qmin(), grid.qmax());
  }
  std::erase_if(graph.metadata, [](const auto& entry) {
    return entry.first.starts_with(kBitsKey) || entry.first.starts_with(kNarrowKey);
  });
}

}  // namespace bitfold
