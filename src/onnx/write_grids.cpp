// Writes grids as QuantizeLinear and DequantizeLinear nodes. write_graph.h describes the forms.
#include <algorithm>

#include "base/check.h"
#include "bitfold/reals.h"
#include "numeric/reals.h"
#include "onnx/attributes.h"
#include "onnx/lift.h"
#include "onnx/qdq.h"
#include "onnx/wire.h"
#include "onnx/write_graph.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

bool needs_clip(const QuantParams& grid) { return grid.bits != 8 && grid.bits != 16; }

// Whether the node only moves elements of its first input, which lies on the same grid.
bool stays_on_grid(const Graph& graph, const Node& node, const Value& output) {
  if (node.inputs.empty() || node.inputs[0] == ValueId::none) return false;
  const bool moves = ops::moves_elements(node.op) && ops::inputs_with(node, ops::Use::data).size() == 1;
  return moves && graph.value(node.inputs[0]).quant == output.quant;
}

Tensor zero_points(const Value& value, const Shape& shape) {
  const QuantParams& grid = *value.quant;
  const DataType type = file_type(value);
  const auto make = [&]<class T>(T) {
    return Tensor::from(shape, std::vector<T>(grid.zero_point.begin(), grid.zero_point.end()));
  };
  switch (type) {
    case DataType::int4:
      return pack(make(std::int8_t{}), 4);
    case DataType::uint4:
      return pack(make(std::uint8_t{}), 4);
    case DataType::int2:
      return pack(make(std::int8_t{}), 2);
    case DataType::uint2:
      return pack(make(std::uint8_t{}), 2);
    case DataType::int8:
      return make(std::int8_t{});
    case DataType::uint8:
      return make(std::uint8_t{});
    case DataType::int16:
      return make(std::int16_t{});
    case DataType::uint16:
      return make(std::uint16_t{});
    default:
      return make(std::int32_t{});
  }
}

}  // namespace

// Writes a grid's scale and zero_point. Returns their names.
std::vector<std::string> GraphWriter::write_grid(const Value& value, bool with_zero_point) {
  const QuantParams& grid = *value.quant;
  const Shape channels{static_cast<std::int64_t>(grid.scale.size())};
  const Shape shape = grid.has_blocks()    ? grid.grid_shape(value.constant->shape())
                      : grid.per_channel() ? channels
                                           : Shape{};
  std::vector<std::string> names{write_scale(value.name + "/scale", Tensor::from(shape, grid.scale))};
  if (with_zero_point) {
    names.push_back(fresh(value.name + "/zero_point"));
    add_initializer(names.back(), zero_points(value, shape));
  }
  return names;
}

// Equal scales per channel are written once. Zero points are not: ONNX Runtime 1.32 refuses a file whose weights share
// them ("Attempt to replace the existing tensor").
std::string GraphWriter::write_scale(const std::string& stem, const Tensor& scale) {
  std::vector<std::pair<Tensor, std::string>> scalars;  // never shared: one per value, too many to search
  auto& written = scale.rank() == 0 ? scalars : scales_[scale.shape()];
  const auto equal = std::ranges::find_if(written, [&](const auto& part) { return part.first == scale; });
  if (equal != written.end()) return equal->second;
  written.emplace_back(scale, fresh(stem));
  add_initializer(written.back().second, scale);
  return written.back().second;
}

// Limits reals to the range of the grid's codes. Returns `from` itself if the type already has that range.
std::string GraphWriter::clipped(const Value& value, const std::string& from) {
  const QuantParams& grid = *value.quant;
  if (!needs_clip(grid)) return from;
  check(!grid.per_channel(), "value '{}': {} bits per channel cannot be written; a computed value needs 8 or 16",
        value.name, grid.bits);
  const auto real = [&](std::int32_t code) {
    return float_scalar(static_cast<float>(code - grid.zero_point[0]) * grid.scale[0]);
  };
  const std::string low = fresh(value.name + "/min"), high = fresh(value.name + "/max");
  add_initializer(low, real(grid.qmin()));
  add_initializer(high, real(grid.qmax()));
  const std::string to = fresh(value.name + "/clip");
  add("Clip", to, {from, low, high}, to).set_doc_string(kGridClip);
  return to;
}

void GraphWriter::write_pair(const Value& value, const std::string& from, const std::string& to, const char* mark,
                             const std::string& node_name) {
  const QuantParams& grid = *value.quant;
  check(!grid.has_blocks(), "value '{}' has a grid in blocks; only constants can have one", value.name);
  check(grid.bits <= 16, "value '{}': a computed value's grid has {} bits; ONNX quantizes to at most 16", value.name,
        grid.bits);
  const std::vector<std::string> names = write_grid(value, true);
  const std::string codes = fresh(value.name + "/q");
  onnx::NodeProto& quantize =
      add("QuantizeLinear", node_name.empty() ? codes : node_name, {from, names[0], names[1]}, codes);
  if (grid.per_channel()) set_integer(quantize, "axis", grid.axis);
  if (mark != nullptr) quantize.set_doc_string(mark);
  onnx::NodeProto& dequantize =
      add("DequantizeLinear", fresh(value.name + "/dq_node"), {codes, names[0], names[1]}, to);
  if (grid.per_channel()) set_integer(dequantize, "axis", grid.axis);
}

void GraphWriter::write_constant(ValueId id) {
  const Value& value = graph_.value(id);
  const std::string name = own_name(id);
  if (!value.quant) return write_reals(name, *value.constant);
  const QuantParams& grid = *value.quant;
  const bool must_pack = file_type(value) != value.constant->dtype();
  const std::string codes = fresh(value.name + "/codes");
  add_initializer(codes, must_pack ? pack(*value.constant, bit_width(file_type(value))) : *value.constant);
  // Without a zero_point, ONNX takes 0 in the type of the codes.
  const bool has_zero_point =
      std::any_of(grid.zero_point.begin(), grid.zero_point.end(), [](auto z) { return z != 0; }) || grid.bits <= 16;
  std::vector<std::string> inputs = write_grid(value, has_zero_point);
  inputs.insert(inputs.begin(), codes);
  onnx::NodeProto& node = add("DequantizeLinear", fresh(value.name + "/dq_node"), inputs, name);
  if (grid.per_channel()) set_integer(node, "axis", grid.axis);
  if (grid.has_blocks()) set_integer(node, "block_size", grid.block_size);
}

void GraphWriter::write_reals(const std::string& name, const Tensor& tensor) {
  const DataType half = model_.constants;
  if (half == DataType::unknown || tensor.dtype() != DataType::float32 || tensor.size_bytes() <= kSmallTensor * 2 ||
      !is_exact_in(half, tensor))
    return add_initializer(name, tensor);
  const std::string stored = fresh(fmt::format("{}/{}", name, to_string(half)));
  add_initializer(stored, convert_reals(tensor, half));
  set_integer(add("Cast", fresh(name + "/cast"), {stored}, name), "to", onnx::TensorProto::FLOAT);
}

void GraphWriter::write_requantize(const Node& node) {
  const ValueId out = node.outputs[0];
  const Value& value = graph_.value(out);
  const std::string from = read_name(node.inputs[0]), to = own_name(out);
  if (value.quant)
    write_pair(value, clipped(value, from), to, kRequantize, node.name);
  else
    add("Identity", node.name, {from}, to).set_doc_string(kRequantize);
  if (!graph_.is_output(out)) write_value_info(out, to);
}

void GraphWriter::write_snapped_outputs(const Node& node, const std::vector<std::string>& raw_names) {
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId out = node.outputs[i];
    if (out == ValueId::none) continue;
    const Value& value = graph_.value(out);
    if (!graph_.is_output(out)) write_value_info(out, own_name(out));
    if (!value.quant) continue;
    const std::string snapped = graph_.is_output(out) ? own_name(out) : fresh(value.name + "/dq");
    write_pair(value, stays_on_grid(graph_, node, value) ? raw_names[i] : clipped(value, raw_names[i]), snapped,
               nullptr, "");
    read_names_[out] = snapped;
  }
}

}  // namespace bitfold
