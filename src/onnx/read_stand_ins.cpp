// Nodes of a file that stand for something else: marks of the exporter, second names of constants, wider constants.
#include "numeric/reals.h"
#include "onnx/attributes.h"
#include "onnx/read_graph.h"
#include "onnx/wire.h"

namespace bitfold {

// Reads the doc_string by which the exporter marked nodes that stand for something else.
bool GraphReader::read_mark(const onnx::NodeProto& node) {
  if (node.doc_string().empty() || !domain_of(node.domain()).empty()) return false;
  if (node.op_type() == "Identity" && node.doc_string() == kBodyOutput && node.input_size() == 1) {
    const ValueId id = read_value(node.input(0));
    values_[node.output(0)] = {.type = values_.at(node.input(0)).type, .real = id};
    return true;
  }
  if (node.op_type() == "Identity" && node.doc_string() == kRequantize && node.input_size() == 1) {
    add_node(node, {.op = Requantize{}, .inputs = {read_value(node.input(0))}}, 1);
    return true;
  }
  return node.doc_string() == kFlattenedSoftmax && read_flattened_softmax(node);
}

// An Identity of a constant gives it a second name: exporters write one initializer for equal constants and an Identity
// for each further use. Skipping it keeps the constant known where a constant is required, such as a scale.
bool GraphReader::skip_identity(const onnx::NodeProto& node) {
  if (node.op_type() != "Identity" || !domain_of(node.domain()).empty() || !node.doc_string().empty()) return false;
  if (node.input_size() != 1 || node.input(0).empty() || outputs_.contains(node.output(0))) return false;
  const FileValue& value = values_.at(node.input(0));
  if (!value.elements && !graph_.is_constant(value.real)) return false;
  const ValueId constant = read_value(node.input(0));
  values_[node.output(0)] = {.type = value.type, .real = constant, .elements = value.elements};
  return true;
}

// A Cast of a constant of halves to float32, as the exporter writes it, is read as the constant. So is a Cast of a
// constant on a grid to any reals; otherwise the weights of a product would not be constant.
bool GraphReader::widen_constant(const onnx::NodeProto& node) {
  if (node.op_type() != "Cast" || !domain_of(node.domain()).empty() || node.input_size() != 1) return false;
  const onnx::AttributeProto* to = find_attribute(node, "to");
  const auto type = to == nullptr ? std::nullopt : data_type_of_onnx(static_cast<int>(to->i()));
  const auto from = values_.find(node.input(0));
  if (!type || from == values_.end() || outputs_.contains(node.output(0))) return false;
  const FileValue& value = from->second;
  if (value.elements && is_half(value.type) && type == DataType::float32) {
    values_[node.output(0)] = {.elements = to_float32(*value.elements)};
    return true;
  }
  if (!is_any_real(*type) || !graph_.is_constant(value.real) || !graph_.value(value.real).quant) return false;
  values_[node.output(0)] = {.type = *type, .real = value.real};
  return true;
}

// Reshape(Softmax(Flatten(x))), as the exporter writes it, becomes one operator again; so does this form of a Hardmax.
// The other nodes then have no readers.
bool GraphReader::read_flattened_softmax(const onnx::NodeProto& node) {
  const auto producer_of = [&](ValueId id) {
    const NodeId producer = id == ValueId::none ? NodeId::none : graph_.producer(id);
    return producer == NodeId::none || graph_.node(producer).inputs.empty() ? NodeId::none : producer;
  };
  const NodeId softmax_id = node.input_size() == 0 ? NodeId::none : producer_of(read_value(node.input(0)));
  if (softmax_id == NodeId::none) return false;
  const Op& of_rows = graph_.node(softmax_id).op;
  const auto* softmax = std::get_if<Softmax>(&of_rows);
  if (softmax == nullptr && !std::holds_alternative<Hardmax>(of_rows)) return false;
  const NodeId flatten_id = producer_of(graph_.node(softmax_id).inputs[0]);
  const auto* flatten = flatten_id == NodeId::none ? nullptr : std::get_if<Flatten>(&graph_.node(flatten_id).op);
  if (flatten == nullptr) return false;
  Op merged = Hardmax{.axis = flatten->axis, .flattened = true};
  if (softmax != nullptr) merged = Softmax{.axis = flatten->axis, .log = softmax->log, .flattened = true};
  add_node(node, {.op = merged, .inputs = {graph_.node(flatten_id).inputs[0]}}, 1);
  return true;
}

}  // namespace bitfold
