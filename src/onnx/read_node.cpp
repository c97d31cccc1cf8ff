// Converts one node of a file to a node of the graph. lift.h converts it to its operator's present form, the fields of
// the operator's row set its attributes, and the row completes it. If one of these declines a node, it stays Opaque,
// with the reason.
#include <algorithm>

#include "base/check.h"
#include "numeric/reals.h"
#include "onnx/attributes.h"
#include "onnx/opset_history.h"
#include "onnx/read_graph.h"
#include "onnx/sort_nodes.h"
#include "onnx/wire.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

/// The tensor of a Constant node; none for any other node.
std::optional<Tensor> constant_of(const onnx::NodeProto& node, const ModelFile& file) {
  if (node.op_type() != "Constant" || !domain_of(node.domain()).empty()) return std::nullopt;
  const auto length = [](const auto& values) { return Shape{static_cast<std::int64_t>(values.size())}; };
  const auto detached = file.constant_data.find(&node);
  for (const auto& attribute : node.attribute()) {
    if (detached != file.constant_data.end() && attribute.type() == onnx::AttributeProto::TENSOR)
      return read_tensor(attribute.t(), file.folder, {detached->second, file.owner});
    const auto value = read_attribute(attribute, file.folder);
    if (!value) continue;
    if (const auto* tensor = std::get_if<Tensor>(&*value)) return *tensor;
    if (const auto* real = std::get_if<float>(&*value)) return float_scalar(*real);
    if (const auto* reals = std::get_if<std::vector<float>>(&*value)) return Tensor::from(length(*reals), *reals);
    if (const auto* integers = std::get_if<std::vector<std::int64_t>>(&*value)) return int64_vector(*integers);
    if (const auto* integer = std::get_if<std::int64_t>(&*value))
      return Tensor::from<std::int64_t>({}, std::span<const std::int64_t>(integer, 1));
    if (const auto* text = std::get_if<std::string>(&*value))
      return Tensor::from<std::string>({}, std::span<const std::string>(text, 1));
    if (const auto* texts = std::get_if<std::vector<std::string>>(&*value)) return Tensor::from(length(*texts), *texts);
  }
  fail("contains no tensor (sparse constants are not supported)");
}

bool has_subgraph_with_call(const onnx::GraphProto& graph, const Functions& functions) {
  return std::ranges::any_of(graph.node(), [&](const onnx::NodeProto& node) {
    return functions.is_call(node) || std::ranges::any_of(node.attribute(), [&](const auto& attribute) {
             return attribute.has_g() && has_subgraph_with_call(attribute.g(), functions);
           });
  });
}

}  // namespace

void GraphReader::read_node(const SourceNode& source) {
  try {
    read_checked(source);
  } catch (const Error& error) {
    fail("{} {}", where(*source.proto), error.what());
  }
}

void GraphReader::read_checked(const SourceNode& source) {
  const onnx::NodeProto& node = *source.proto;
  check(!node.op_type().empty(), "has no operator type");
  if (auto constant = constant_of(node, file_)) {
    check(node.output_size() == 1 && !node.output(0).empty(), "has no output");
    note_halves(*constant);
    FileValue value{.type = constant->dtype(), .elements = std::move(constant)};
    values_[node.output(0)] = std::move(value);
    return;
  }
  const std::size_t output_count = count_outputs(node);
  if (output_count == 0) return;  // no output is read
  if (read_mark(node) || skip_identity(node) || widen_constant(node)) return;
  if (node.op_type() == "SequenceMap" && domain_of(node.domain()).empty()) {
    const std::optional<std::string> reason = read_sequence_map(source);
    if (reason) read_unknown(source, output_count, *reason);
    return;
  }
  if (const ExpandNode expand = find_expansion(domain_of(node.domain()), node.op_type())) {
    opset_of(node, *source.opsets);
    const std::optional<std::string> reason = read_expanded(node, expand);
    if (!reason) return;
    if (!reason->empty()) return read_unknown(source, output_count, *reason);
  }
  if (std::optional<std::string> reason = read_known(source, output_count))
    read_unknown(source, output_count, std::move(*reason));
}

// One more than the index of the last output that something reads. All outputs if their number defines their contents.
std::size_t GraphReader::count_outputs(const onnx::NodeProto& node) const {
  std::size_t count = 0;
  for (int i = 0; i < node.output_size(); ++i)
    if (!node.output(i).empty() && read_.contains(node.output(i))) count = static_cast<std::size_t>(i) + 1;
  const std::string& type = node.op_type();
  const bool needs_all = type == "Split" || type == "If" || type == "Loop" || type == "Scan";
  return needs_all && count > 0 ? static_cast<std::size_t>(node.output_size()) : count;
}

std::int64_t GraphReader::opset_of(const onnx::NodeProto& node, const Opsets& opsets) const {
  const std::string domain = domain_of(node.domain());
  const auto it = opsets.find(domain);
  check(it != opsets.end(), "is of operator set '{}', which the model does not import", domain);
  check(!domain.empty() || (it->second >= kOldestReadOpset && it->second <= kLatestOpset),
        "has opset {}; supported are {} to {} (onnx.version_converter changes it)", it->second, kOldestReadOpset,
        kLatestOpset);
  return it->second;
}

// Reads the nodes that replace a node. Returns the reason if there are none.
std::optional<std::string> GraphReader::read_expanded(const onnx::NodeProto& node, ExpandNode expand) {
  static const Opsets kNewest{{"", kLatestOpset}};
  Expansion::Context context{.folder = file_.folder};
  context.know = [this](const std::string& name) {
    const FileValue& value = values_.at(name);
    const ValueId id = value.real != ValueId::none ? value.real : value.raw;
    if (value.elements) return KnownValue{&*value.elements, value.elements->shape()};
    const Value& known = graph_.value(id);
    if (known.constant && !known.quant) return KnownValue{&*known.constant, known.constant->shape()};
    return KnownValue{nullptr, known.shape};
  };
  context.is_read = [this](const std::string& name) { return read_.contains(name); };
  context.fresh = [this](const std::string& stem) {
    std::string name = fresh(stem);
    names_.insert(name);
    return name;
  };
  Expansion expansion(node, std::move(context));
  if (auto reason = expand(expansion)) return reason;
  for (const onnx::NodeProto& made : expansion.nodes()) {
    for (const std::string& name : made.input()) read_.insert(name);
    read_.merge(captured_names(made));
  }
  for (const onnx::NodeProto& made : expansion.nodes()) read_node({&made, &kNewest});
  return std::nullopt;
}

// Reads an operator of the table. Returns the reason if the node cannot become one, or "" if the table has no such
// operator.
std::optional<std::string> GraphReader::read_known(const SourceNode& source, std::size_t output_count) {
  const onnx::NodeProto& node = *source.proto;
  const std::string domain = domain_of(node.domain());
  NodeForm form{.graph = graph_, .proto = node, .opset = opset_of(node, *source.opsets), .type = node.op_type()};
  form.add_constant = [this](const std::string& name, bool has_name, Tensor tensor) {
    return add_constant(name, has_name, std::move(tensor));
  };
  form.add_node = [this, &node](Op op, std::vector<ValueId> inputs, std::string_view what) {
    const std::string name = fresh(fmt::format("{}/{}", node.output(0), what));
    const ValueId y = graph_.add_value({.name = name});
    infer(graph_.add_node({.name = name, .op = std::move(op), .inputs = std::move(inputs), .outputs = {y}}));
    return y;
  };
  form.add_output = [this](Op op, ValueId input, const std::string& name) {
    const ValueId made = graph_.add(std::move(op), name, {input}, name);
    infer(graph_.producer(made));
    return made;
  };
  form.output_count = output_count;
  const bool is_known = ops::find_operator(domain, form.type) != nullptr || (domain.empty() && has_lift(form.type));
  if (!is_known) return "";
  for (const auto& attribute : node.attribute()) {
    if (attribute.has_g()) continue;  // subgraphs are read by read_bodies()
    if (attribute.has_tp() && form.type == "Optional") {
      onnx::TypeProto whole;
      *whole.mutable_optional_type()->mutable_elem_type() = attribute.tp();
      const ValueInfo type = read_type(whole);
      form.internal = {{"kind", type.dtype}, {"item", type.items->dtype}};
      continue;
    }
    auto value = read_attribute(attribute, file_.folder);
    if (!value)
      return fmt::format("attribute '{}' has a type that no attribute of this operator has", attribute.name());
    form.attributes[attribute.name()] = std::move(*value);
  }
  for (const std::string& name : node.input()) {
    const bool has_raw = form.type == "Cast" && !name.empty() && values_.at(name).raw != ValueId::none;
    form.inputs.push_back(has_raw || form.type == "BitCast" ? read_raw(name) : read_value(name));
  }
  if (domain.empty())
    if (auto reason = lift(form)) return reason;
  for (const auto& [index, id] : form.computed) {
    const std::string& name = node.output(static_cast<int>(index));
    if (!name.empty()) values_[name] = {.type = graph_.value(id).dtype, .real = id};
  }
  if (!form.computed.empty()) output_count = form.computed.begin()->first;
  const ops::OperatorInfo* row = ops::find_operator(domain, form.type);
  if (row == nullptr) return fmt::format("opset {} does not have it", form.opset);
  if (domain.empty() && form.opset < row->since && !has_lift(node.op_type(), form.opset, row->since))
    return fmt::format("opset {} does not have it; {} is the first that does", form.opset, row->since);
  if (ops::slot_at(row->outputs, output_count - 1) == nullptr)
    return fmt::format("its output {} ('{}') is used", output_count - 1,
                       node.output(static_cast<int>(output_count) - 1));
  Node made{.op = row->prototype};
  std::optional<DataType> file_type;
  if (auto reason = set_fields(form, *row, made.op, file_type)) return reason;
  std::vector<DataType> body_types;
  if (!row->bodies.empty())
    if (auto reason = read_bodies(source, *row, form, made, body_types)) return reason;
  made.inputs = form.inputs;
  made.outputs.assign(output_count, ValueId::none);
  const std::vector<ValueInfo> infos = infos_of(made.inputs);
  if (row->settle != nullptr)
    if (auto reason = row->settle(made.op, ops::Inputs{made, infos})) return reason;
  if (fold_grid(made.op, made.inputs, node.output(0))) return std::nullopt;
  const NodeId id = add_node(node, std::move(made), output_count);
  for (std::size_t i = 0; i < output_count; ++i) {
    const std::string& name = node.output(static_cast<int>(i));
    if (name.empty()) continue;
    const auto own = i < body_types.size() ? std::optional(body_types[i]) : file_type;
    FileValue& value = values_[name];
    value.type = file_type_of_output(node, id, i, own);
    if (is_other_real(graph_.value(value.real).dtype)) std::swap(value.real, value.raw);
  }
  if (std::holds_alternative<Cast>(graph_.node(id).op) && file_type && is_other_real(*file_type))
    file_casts_.insert(id);
  return std::nullopt;
}

// `file_type`: the element type that an attribute gives the output in the file.
std::optional<std::string> GraphReader::set_fields(const NodeForm& form, const ops::OperatorInfo& row, Op& op,
                                                   std::optional<DataType>& file_type) {
  const auto field_named = [&](std::string_view name, bool is_internal) {
    const auto it = std::ranges::find_if(
        row.fields, [&](const ops::Field& field) { return field.name == name && field.is_internal == is_internal; });
    return it == row.fields.end() ? nullptr : &*it;
  };
  const auto set = [&](const ops::Field* field, const std::string& name,
                       const ops::AttributeValue& given) -> std::optional<std::string> {
    if (field == nullptr) return fmt::format("attribute '{}' is not known", name);
    std::optional<ops::AttributeValue> value = value_for(*field, given);
    if (!value) return fmt::format("attribute '{}' is an element type that Bitfold does not support", name);
    if (auto* dtype = std::get_if<DataType>(&*value)) {
      file_type = *dtype;
      if (is_other_real(*dtype) && !std::holds_alternative<BitCast>(op)) *dtype = DataType::float32;
    }
    if (auto* tensor = std::get_if<Tensor>(&*value)) {
      if (name != "keys_tensor") file_type = tensor->dtype();  // of a LabelEncoder, whose output has the values' type
      if (is_other_real(tensor->dtype())) *tensor = to_float32(*tensor);
    }
    return field->set(op, *value);
  };
  for (const auto& [name, value] : form.attributes)
    if (auto reason = set(field_named(name, false), name, value)) return reason;
  for (const auto& [name, value] : form.internal)
    if (auto reason = set(field_named(name, true), name, value)) return reason;
  for (const ops::Field& field : row.fields)
    check(!field.is_required || form.attributes.contains(field.name), "attribute '{}' is missing", field.name);
  return std::nullopt;
}

// The node stays a node of the file. Its inputs and outputs have the file's types.
void GraphReader::read_unknown(const SourceNode& source, std::size_t output_count, std::string reason) {
  const onnx::NodeProto& node = *source.proto;
  Opaque op{.domain = domain_of(node.domain()), .type = node.op_type(), .reason = std::move(reason)};
  op.opset = opset_of(node, *source.opsets);
  if (file_.earlier_opset > 0 && op.domain.empty() && file_.earlier_opset < op.opset &&
      opsets_of_same_meaning(op.type, file_.earlier_opset).last >= op.opset)
    op.opset = file_.earlier_opset;
  for (const auto& attribute : node.attribute()) {
    check(attribute.t().data_location() != onnx::TensorProto::EXTERNAL, "attribute '{}' has external data",
          attribute.name());
    check(!attribute.has_g() || !has_subgraph_with_call(attribute.g(), file_.functions),
          "calls a function of the model inside its subgraph, which is not supported (onnx.inliner removes it)");
    op.attributes.push_back(attribute.SerializeAsString());
  }
  const std::set<std::string> captured = captured_names(node);
  check(captured.empty(), "reads '{}' of the outer graph inside its subgraph, which is not supported{}{}",
        captured.empty() ? "" : *captured.begin(), op.reason.empty() ? "" : ": ", op.reason);
  Node made{};
  for (const std::string& name : node.input()) made.inputs.push_back(read_raw(name));
  const bool reads_other_reals = std::ranges::any_of(
      node.input(), [&](const std::string& name) { return !name.empty() && is_other_real(values_.at(name).type); });
  made.op = std::move(op);
  add_node(node, std::move(made), output_count);
  for (std::size_t i = 0; i < output_count; ++i) {
    const std::string& name = node.output(static_cast<int>(i));
    if (name.empty()) continue;
    FileValue& value = values_[name];
    value.type = graph_.value(value.real).dtype;
    check(!reads_other_reals || value.type != DataType::unknown,
          "reads reals that are not float32, and the file does not declare the type of its output '{}' "
          "(onnx.shape_inference adds that)",
          name);
    if (is_other_real(value.type)) std::swap(value.real, value.raw);
  }
}

bool GraphReader::fold_grid(const Op& op, const std::vector<ValueId>& inputs, const std::string& output) {
  if (!is_quantize(op) && !is_dequantize(op)) return false;
  auto folded = fold_constant_qdq(graph_, op, inputs);
  if (!folded) return false;
  folded->name = output;
  FileValue value{.type = folded->dtype};
  value.real = graph_.add_value(std::move(*folded));
  values_[output] = value;
  return true;
}

NodeId GraphReader::add_node(const onnx::NodeProto& node, Node made, std::size_t output_count) {
  made.name = node.name();
  for (int i = 0; made.name.empty(); ++i) made.name = node.output(i);
  made.outputs.clear();
  const bool is_opaque = std::holds_alternative<Opaque>(made.op);
  for (std::size_t i = 0; i < output_count; ++i) {
    const std::string& name = node.output(static_cast<int>(i));
    made.outputs.push_back(ValueId::none);
    if (name.empty()) continue;
    const auto declared = declared_.find(name);
    Value value{.name = name, .dtype = DataType::unknown};
    if (declared != declared_.end()) {
      value.shape = declared->second.shape;
      value.items = declared->second.items;
      if (is_opaque) value.dtype = declared->second.dtype;
    }
    made.outputs[i] = graph_.add_value(std::move(value));
    values_[name] = {.real = made.outputs[i]};
  }
  const NodeId id = graph_.add_node(std::move(made));
  infer(id);
  if (node.doc_string() == kGridClip) marks_.grid_clips.insert(id);
  if (node.doc_string() == kRequantize) marks_.requantizes.insert(id);
  return id;
}

// Infers types and shapes as far as they are known, for use by later nodes.
void GraphReader::infer(NodeId id) {
  const Node& node = graph_.node(id);
  const std::vector<ValueInfo> inputs = infos_of(node.inputs);
  std::vector<ValueInfo> inferred = infer_node(node, inputs);
  for (std::size_t i = 0; i < node.outputs.size() && i < inferred.size(); ++i) {
    if (node.outputs[i] == ValueId::none) continue;
    Value& value = graph_.value(node.outputs[i]);
    if (inferred[i].shape) value.shape = inferred[i].shape;
    inferred[i].shape = value.shape;
    // The output of an unknown operator has the type that the file declares.
    if (inferred[i].dtype == DataType::unknown && std::holds_alternative<Opaque>(node.op)) {
      inferred[i].dtype = value.dtype;
      inferred[i].items = value.items;
    } else {
      value.dtype = inferred[i].dtype;
      value.items = inferred[i].items;
    }
    info(node.outputs[i]);
    infos_[static_cast<std::size_t>(node.outputs[i])] = std::move(inferred[i]);
  }
}

// Reals are float32 in the graph. Their type in the file follows from the attribute that gives it, the file's
// declaration, or the inputs whose type the operator's row assigns to the output.
DataType GraphReader::file_type_of_output(const onnx::NodeProto& node, NodeId id, std::size_t output,
                                          std::optional<DataType> attribute) {
  const Node& made = graph_.node(id);
  const DataType type = graph_.value(made.outputs[output]).dtype;
  if (type != DataType::float32) return type;
  if (attribute && is_any_real(*attribute)) return *attribute;
  const auto declared = declared_.find(node.output(static_cast<int>(output)));
  if (declared != declared_.end() && is_any_real(declared->second.dtype)) return declared->second.dtype;
  const ops::OperatorInfo& row = ops::info(made.op);
  const ops::Slot* slot = ops::slot_at(row.outputs, output);
  for (std::size_t i = 0; i < static_cast<std::size_t>(node.input_size()); ++i) {
    const ops::Slot* from = ops::slot_at(row.inputs, i);
    const std::string& name = node.input(static_cast<int>(i));
    if (from == nullptr || slot == nullptr || from->group != slot->group || from->group == 0 || name.empty()) continue;
    if (is_any_real(values_.at(name).type)) return values_.at(name).type;
  }
  return DataType::float32;
}

}  // namespace bitfold
