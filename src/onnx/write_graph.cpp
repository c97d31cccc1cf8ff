#include "onnx/write_graph.h"

#include <algorithm>

#include "base/check.h"
#include "graph/fresh_name.h"
#include "onnx/attributes.h"
#include "onnx/lower_opset.h"
#include "onnx/qdq.h"
#include "onnx/read_graph.h"
#include "onnx/sort_nodes.h"
#include "onnx/wire.h"
#include "ops/control.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

void write_type(onnx::ValueInfoProto& info, const std::string& name, const Value& value) {
  info.set_name(name);
  if (value.dtype == DataType::unknown) return;
  if (is_container(value.dtype) && (!value.items || value.items->dtype == DataType::unknown)) return;
  *info.mutable_type() = write_type(value.dtype, value.shape, value.items);
}

/// The oldest version of the operator's domain that has it with these attributes.
std::int64_t domain_version(const Op& op) {
  const auto* encoder = std::get_if<LabelEncoder>(&op);
  const bool has_tensors =
      encoder != nullptr && (encoder->tensor_keys || encoder->tensor_values || encoder->tensor_default);
  return has_tensors ? 4 : ops::info(op).since;
}

}  // namespace

void take_names(const Graph& graph, std::set<std::string>& taken) {
  for (ValueId id : graph.values()) taken.insert(graph.value(id).name);
  for (NodeId id : graph.nodes())
    for (const auto& body : graph.node(id).bodies) take_names(*body, taken);
}

GraphWriter::GraphWriter(ModelWriting& model, const Graph& graph, onnx::GraphProto& file, GraphWriter* outer,
                         std::string path)
    : model_(model), graph_(graph), file_(file), outer_(outer), path_(std::move(path)) {}

void GraphWriter::write(std::span<const ValueId> captured) {
  file_.set_name(graph_.name.empty() ? "graph" : graph_.name);  // ONNX requires a name
  if (graph_.name.empty()) file_.set_doc_string(kUnnamed);
  bind_captured(captured);
  for (ValueId id : graph_.inputs())
    if (!read_names_.contains(id)) write_input(id);
  for (ValueId id : graph_.values())
    if (graph_.is_constant(id)) constants_.emplace(own_name(id), id);
  for (NodeId id : graph_.topological_order()) write_node(id);
  write_outputs();
  write_metadata();
}

// Captured values are read by their outer names.
void GraphWriter::bind_captured(std::span<const ValueId> captured) {
  const auto& inputs = graph_.inputs();
  for (std::size_t i = 0; i < captured.size(); ++i) {
    const ValueId inner = inputs[inputs.size() - captured.size() + i];
    const Value& value = graph_.value(inner);
    read_names_[inner] = outer_->read_name(captured[i]);
    if (!value.quant || value.quant == outer_->graph_.value(captured[i]).quant) continue;
    const std::string snapped = fresh(value.name + "/dq");
    write_pair(value, clipped(value, read_names_[inner]), snapped, nullptr, "");
    read_names_[inner] = snapped;
  }
}

// Names ---------------------------------------------------------------------------------------------------------------

std::string GraphWriter::fresh(const std::string& stem) {
  const std::string name =
      fresh_name(stem, [this](const std::string& candidate) { return model_.taken.contains(candidate); });
  model_.taken.insert(name);
  return name;
}

bool GraphWriter::is_outer_name(const std::string& name) const {
  for (const GraphWriter* outer = outer_; outer != nullptr; outer = outer->outer_)
    if (outer->graph_.find(name) != ValueId::none) return true;
  return false;
}

// A body's own values must not have the names of outer values.
std::string GraphWriter::own_name(ValueId id) {
  if (const auto it = own_names_.find(id); it != own_names_.end()) return it->second;
  const Value& value = graph_.value(id);
  if (outer_ == nullptr || !is_outer_name(value.name) || (value.constant && shares_constant(value))) return value.name;
  return own_names_[id] = fresh(value.name);
}

std::string GraphWriter::read_name(ValueId id) {
  if (id == ValueId::none) return "";
  const auto it = read_names_.find(id);
  return it == read_names_.end() ? own_name(id) : it->second;
}

// The name of a node's own output. write_node adds its snapped form.
std::string GraphWriter::raw_name(ValueId id) {
  if (id == ValueId::none) return "";
  const Value& value = graph_.value(id);
  return value.quant && graph_.is_output(id) ? fresh(own_name(id) + "/raw") : own_name(id);
}

// Whether an outer graph has the same constant under that name. A body then reads it there.
bool GraphWriter::shares_constant(const Value& value) {
  for (GraphWriter* outer = outer_; outer != nullptr; outer = outer->outer_) {
    const ValueId id = outer->graph_.find(value.name);
    if (id == ValueId::none) continue;
    const Value& other = outer->graph_.value(id);
    return other.constant == value.constant && other.quant == value.quant && other.dtype == value.dtype &&
           outer->own_name(id) == value.name;
  }
  return false;
}

// Constants are written when something first reads them: a constant that became an attribute has no reader.
void GraphWriter::need_constant(const std::string& name) {
  const auto it = constants_.find(name);
  if (it == constants_.end()) {
    if (outer_ != nullptr) outer_->need_constant(name);
    return;
  }
  const ValueId id = it->second;
  constants_.erase(it);
  if (outer_ != nullptr && shares_constant(graph_.value(id))) return outer_->need_constant(name);
  write_constant(id);
}

// Nodes ---------------------------------------------------------------------------------------------------------------

void GraphWriter::append(onnx::NodeProto node) {
  for (const std::string& name : node.input()) need_constant(name);
  *file_.add_node() = std::move(node);
}

onnx::NodeProto& GraphWriter::add(const char* type, const std::string& node_name,
                                  const std::vector<std::string>& inputs, const std::string& output) {
  onnx::NodeProto node;
  node.set_op_type(type);
  node.set_name(node_name);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
  append(std::move(node));
  return *file_.mutable_node(file_.node_size() - 1);
}

void GraphWriter::add_initializer(const std::string& name, const Tensor& tensor) {
  const bool is_detached = outer_ == nullptr && tensor.size_bytes() > kSmallTensor && !holds_objects(tensor.dtype());
  *file_.add_initializer() = is_detached ? write_tensor_header(name, tensor) : write_tensor(name, tensor);
  if (outer_ == nullptr) model_.data.push_back(is_detached ? std::optional(tensor) : std::nullopt);
}

void GraphWriter::write_input(ValueId id) {
  const Value& value = graph_.value(id);
  const std::string name = own_name(id);
  write_type(*file_.add_input(), name, value);
  if (!value.quant) return;
  check(!graph_.is_output(id), "value '{}' has a grid and is both graph input and graph output", value.name);
  const std::string snapped = fresh(name + "/dq");
  write_pair(value, clipped(value, name), snapped, nullptr, "");
  read_names_[id] = snapped;
}

// An output of a body has a name of its own, different from captured values and from other outputs.
void GraphWriter::write_outputs() {
  std::set<ValueId> seen;
  for (ValueId id : graph_.outputs()) {
    const Value& value = graph_.value(id);
    std::string name = read_name(id);
    const bool is_own = graph_.producer(id) != NodeId::none || outer_ == nullptr;
    if (outer_ != nullptr && (!is_own || !seen.insert(id).second)) {
      const std::string copy = fresh(value.name + "/output");
      add("Identity", copy, {name}, copy).set_doc_string(kBodyOutput);
      name = copy;
    }
    need_constant(name);
    write_type(*file_.add_output(), name, value);
  }
}

// A value of unknown type and shape is not declared.
void GraphWriter::write_value_info(ValueId id, const std::string& name) {
  if (graph_.value(id).dtype != DataType::unknown) write_type(*file_.add_value_info(), name, graph_.value(id));
}

void GraphWriter::write_node(NodeId id) {
  const Node& node = graph_.node(id);
  if (std::holds_alternative<Requantize>(node.op)) return write_requantize(node);
  const auto* softmax = std::get_if<Softmax>(&node.op);
  const auto* hardmax = std::get_if<Hardmax>(&node.op);
  if (softmax != nullptr && softmax->flattened && model_.opset >= 13)
    write_flattened(node, softmax->axis);
  else if (hardmax != nullptr && hardmax->flattened && model_.opset >= 13)
    write_flattened(node, hardmax->axis);
  else
    write_operator(id);
}

// Writes a flattened Softmax or Hardmax (the form before opset 13, over all axes from `axis` on) as Flatten, the
// operator over the last axis, and Reshape to the original shape.
void GraphWriter::write_flattened(const Node& node, std::int64_t axis) {
  const std::string from = read_name(node.inputs[0]), to = raw_name(node.outputs[0]);
  const std::string shape = fresh(to + "/shape"), flat = fresh(to + "/flat"), rows = fresh(to + "/rows");
  add("Shape", shape, {from}, shape);
  set_integer(add("Flatten", flat, {from}, flat), "axis", axis);
  set_integer(add(std::string(ops::info(node.op).name).c_str(), rows, {flat}, rows), "axis", -1);
  add("Reshape", node.name, {rows, shape}, to).set_doc_string(kFlattenedSoftmax);
  write_snapped_outputs(node, {to});
}

void GraphWriter::write_operator(NodeId id) {
  const Node& node = graph_.node(id);
  onnx::NodeProto written;
  written.set_name(node.name);
  const std::size_t own_inputs = node.inputs.size() - ops::captured_count(node);
  for (std::size_t i = 0; i < own_inputs; ++i) written.add_input(read_name(node.inputs[i]));
  std::vector<std::string> raw_names;
  for (ValueId out : node.outputs) written.add_output(raw_names.emplace_back(raw_name(out)));
  if (std::holds_alternative<Opaque>(node.op)) {
    write_unknown(node, written);
  } else {
    write_fields(node, written);
    // ONNX accepts either pads or auto_pad. The graph keeps auto_pad if sizes are unknown; its pads are 0 then.
    if (const onnx::AttributeProto* pads = find_attribute(written, "auto_pad");
        pads != nullptr && pads->s() != "NOTSET")
      remove_attribute(written, "pads");
    write_bodies(node, written);
    const std::string stem = written.output(0);
    NodeWriting writing{.graph = graph_, .node = node, .opset = model_.opset, .proto = written};
    writing.add_node = [&](const onnx::NodeProto& attributes, const char* type, const std::vector<std::string>& inputs,
                           const char* suffix) {
      const std::string output = fresh(stem + "/" + suffix);
      *add(type, output, inputs, output).mutable_attribute() = attributes.attribute();
      return output;
    };
    writing.add_constant = [&](const char* suffix, const Tensor& tensor) {
      const std::string name = fresh(stem + "/" + suffix);
      add_initializer(name, tensor);
      return name;
    };
    lower(writing);
  }
  append(std::move(written));
  write_snapped_outputs(node, raw_names);
}

void GraphWriter::write_fields(const Node& node, onnx::NodeProto& written) {
  const ops::OperatorInfo& row = ops::info(node.op);
  check(!row.is_internal, "{} has no form in ONNX", where(node));
  written.set_op_type(std::string(row.name));
  written.set_domain(std::string(row.domain));
  if (!row.domain.empty()) {
    const std::int64_t needed = domain_version(node.op);
    std::int64_t& version = model_.domains.try_emplace(std::string(row.domain), needed).first->second;
    const auto user = model_.domain_users.find(std::string(row.domain));
    check(version >= needed || user == model_.domain_users.end(),
          "{} needs version {} of operator set '{}', {} version {}", where(node), needed, row.domain,
          user == model_.domain_users.end() ? "" : user->second, version);
    version = std::max(version, needed);
  }
  for (const ops::Field& field : row.fields) {
    if (field.is_internal) continue;
    const std::optional<ops::AttributeValue> value = field.get(node.op);
    if (!value || (field.is_implied != nullptr && field.is_implied(*value))) continue;
    if (!field.is_required && value == field.get(row.prototype)) continue;
    set_attribute(written, field.name, *value);
  }
  const auto* optional = std::get_if<MakeOptional>(&node.op);
  if (optional == nullptr || !optional->kind || !optional->item) return;
  onnx::AttributeProto& type = *written.add_attribute();
  type.set_name("type");
  type.set_type(onnx::AttributeProto::TYPE_PROTO);
  const onnx::TypeProto whole = write_type(*optional->kind, {}, ItemType{*optional->item, {}});
  *type.mutable_tp() = whole.optional_type().elem_type();
}

void GraphWriter::write_bodies(const Node& node, onnx::NodeProto& written) {
  const std::size_t count = ops::captured_count(node);
  for (std::size_t i = 0; i < node.bodies.size(); ++i) {
    onnx::AttributeProto& attribute = *written.add_attribute();
    attribute.set_name(std::string(ops::info(node.op).bodies[i]));
    attribute.set_type(onnx::AttributeProto::GRAPH);
    GraphWriter writer(model_, *node.bodies[i], *attribute.mutable_g(), this,
                       fmt::format("{}{}.{}/", path_, node.name, i));
    writer.write(std::span(node.inputs).last(count));
  }
}

void GraphWriter::write_unknown(const Node& node, onnx::NodeProto& written) {
  const auto& opaque = std::get<Opaque>(node.op);
  written.set_op_type(opaque.type);
  written.set_domain(opaque.domain);
  for (const std::string& bytes : opaque.attributes)
    check(written.add_attribute()->ParseFromString(bytes), "{} has a broken attribute", where(node));
  if (opaque.domain.empty()) return;
  const std::int64_t version = std::max<std::int64_t>(opaque.opset, 1);
  const auto [it, fresh_domain] = model_.domains.try_emplace(opaque.domain, version);
  const auto [user, is_first] = model_.domain_users.try_emplace(opaque.domain, where(node));
  if (is_first) it->second = std::max(it->second, version);  // only operators of the table, which need at least theirs
  check(fresh_domain || it->second == version, "{} needs version {} of operator set '{}', {} version {}", where(node),
        version, opaque.domain, is_first ? "others" : user->second, it->second);
}

void GraphWriter::write_metadata() {
  const auto put = [&](const std::string& key, const Value& value, const std::string& text) {
    const std::string start = path_.empty() ? key : key.substr(0, key.size() - 1) + "@" + path_ + ":";
    model_.metadata[start + value.name] = text;
  };
  if (path_.empty()) model_.metadata.insert(graph_.metadata.begin(), graph_.metadata.end());
  for (ValueId id : graph_.values()) {
    const Value& value = graph_.value(id);
    if (!value.quant) continue;
    if (bit_width(file_type(value)) != value.quant->bits) put(kBitsKey, value, std::to_string(value.quant->bits));
    if (infers_narrow(value) != value.quant->narrow) put(kNarrowKey, value, value.quant->narrow ? "true" : "false");
  }
}

}  // namespace bitfold
