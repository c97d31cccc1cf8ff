#include "onnx/read_graph.h"

#include <algorithm>

#include "base/check.h"
#include "graph/fresh_name.h"
#include "numeric/reals.h"
#include "onnx/sort_nodes.h"
#include "onnx/wire.h"
#include "ops/control.h"

namespace bitfold {
namespace {

ValueInfo read_type(const onnx::ValueInfoProto& info) {
  try {
    return bitfold::read_type(info.type());
  } catch (const Error& error) {
    fail("value '{}' {}", info.name(), error.what());
  }
}

/// Whether read_type() reads the type.
bool is_known_type(const onnx::TypeProto& type, bool may_hold = true) {
  if (type.has_tensor_type()) return data_type_of_onnx(type.tensor_type().elem_type()).has_value();
  if (type.has_sequence_type()) return may_hold && is_known_type(type.sequence_type().elem_type(), false);
  if (!type.has_optional_type() || !may_hold) return false;
  const onnx::TypeProto& held = type.optional_type().elem_type();
  return is_known_type(held.has_sequence_type() ? held.sequence_type().elem_type() : held, false);
}

/// Tensors in a sequence are float32 inside the graph, and nothing converts them at its interface.
void check_interface(const onnx::ValueInfoProto& info, const ValueInfo& type) {
  check(!type.items || !is_other_real(type.items->dtype), "value '{}' is a {} of {}; only float32 reals are supported",
        info.name(), to_string(type.dtype), type.items ? to_string(type.items->dtype) : "");
}

/// The same type with the reals that it has inside the graph.
ValueInfo inside(ValueInfo type) {
  if (type.items && is_other_real(type.items->dtype)) type.items->dtype = DataType::float32;
  return type;
}

/// Frees the memory of a field, which Clear() would keep.
template <class Element>
void release(google::protobuf::RepeatedField<Element>& field) {
  google::protobuf::RepeatedField<Element> empty;
  empty.Swap(&field);
}

}  // namespace

GraphReader::GraphReader(ModelFile& file, const onnx::GraphProto& graph, const Opsets& opsets, std::string path)
    : file_(file), proto_(graph), opsets_(opsets), path_(std::move(path)) {}

Graph GraphReader::read(std::span<const ValueInfo> inputs, std::span<const Captured> captured) {
  check(proto_.sparse_initializer_size() == 0, "has sparse initializers, which are not supported");
  if (proto_.doc_string() != kUnnamed) graph_.name = proto_.name();
  if (const auto metadata = file_.body_metadata.find(path_); metadata != file_.body_metadata.end())
    graph_.metadata = metadata->second;
  const std::vector<SourceNode> nodes = file_.functions.expand(proto_.node(), opsets_);
  read_declarations(nodes);
  read_initializers();
  read_inputs(inputs);
  add_captured(captured);
  std::vector<const onnx::NodeProto*> protos;
  for (const SourceNode& node : nodes) protos.push_back(node.proto);
  const auto is_given = [this](const std::string& name) { return values_.contains(name); };
  for (std::size_t i : sort_nodes(protos, is_given)) read_node(nodes[i]);
  for (const auto& output : proto_.output()) mark_output(output);
  fuse_casts();
  absorb_qdq(graph_, marks_);
  settle_grids(graph_);
  graph_.compact();
  name_nodes();
  if (is_body()) infer_shapes(graph_);
  return std::move(graph_);
}

// Reads the types of computed values, and records which values have readers.
void GraphReader::read_declarations(std::span<const SourceNode> nodes) {
  const auto declare = [this](const onnx::ValueInfoProto& info) {
    if (is_known_type(info.type())) declared_[info.name()] = inside(read_type(info));
  };
  for (const auto& info : proto_.value_info()) declare(info);
  for (const auto& tensor : proto_.initializer()) names_.insert(tensor.name());
  for (const auto& input : proto_.input()) names_.insert(input.name());
  own_ = names_;
  for (const auto& output : proto_.output()) {
    read_.insert(output.name());
    outputs_.insert(output.name());
    if (output.has_type() && !is_body()) check_interface(output, read_type(output));
    declare(output);
  }
  for (const SourceNode& node : nodes) {
    for (const std::string& name : node.proto->input()) read_.insert(name);
    read_.merge(captured_names(*node.proto));
    for (const std::string& name : node.proto->output()) {
      check(name.empty() || !own_.contains(name), "{} produces '{}', which is a graph input or initializer",
            where(*node.proto), name);
      names_.insert(name);
    }
  }
}

// Leaves the initializer without elements, so that the model and its graph do not both hold them.
Tensor GraphReader::take_initializer(int i) {
  auto& tensor = *file_.model.mutable_graph()->mutable_initializer(i);
  const auto index = static_cast<std::size_t>(i);
  const bool is_detached = index < file_.initializer_data.size() && file_.initializer_data[index].data() != nullptr;
  if (!is_detached && tensor.has_raw_data()) return take_tensor(tensor, file_.folder);
  Tensor taken = read_tensor(tensor, file_.folder,
                             {is_detached ? file_.initializer_data[index] : std::span<const std::byte>(), file_.owner});
  release(*tensor.mutable_float_data());
  release(*tensor.mutable_double_data());
  release(*tensor.mutable_int32_data());
  release(*tensor.mutable_int64_data());
  release(*tensor.mutable_uint64_data());
  return taken;
}

void GraphReader::note_halves(const Tensor& constant) {
  if (file_.constants == DataType::unknown && is_half(constant.dtype()) && constant.size_bytes() > kSmallTensor)
    file_.constants = constant.dtype();
}

void GraphReader::read_initializers() {
  for (int i = 0; i < proto_.initializer_size(); ++i) {
    const auto& tensor = proto_.initializer(i);
    check(!tensor.name().empty(), "has an initializer without a name");
    FileValue value{.elements = is_body() ? read_tensor(tensor, file_.folder) : take_initializer(i)};
    value.type = value.elements->dtype();
    note_halves(*value.elements);
    check(values_.try_emplace(tensor.name(), std::move(value)).second, "has two initializers named '{}'",
          tensor.name());
  }
}

void GraphReader::read_inputs(std::span<const ValueInfo> infos) {
  std::set<std::string> names;
  for (int i = 0; i < proto_.input_size(); ++i) {
    const onnx::ValueInfoProto& input = proto_.input(i);
    check(!input.name().empty(), "has a graph input without a name");
    check(names.insert(input.name()).second, "has two graph inputs named '{}'", input.name());
    if (values_.contains(input.name())) {  // a default value, which old files list as an input
      if (is_body() || !file_.overridden.contains(input.name())) continue;
      values_.erase(input.name());
    }
    ValueInfo declared;
    if (is_body() && input.type().value_case() == onnx::TypeProto::VALUE_NOT_SET &&
        static_cast<std::size_t>(i) < infos.size())
      declared = infos[static_cast<std::size_t>(i)];
    else
      declared = read_type(input);
    if (!is_body()) check_interface(input, declared);
    declared = inside(std::move(declared));
    FileValue value{.type = declared.dtype};
    const bool is_other = is_other_real(declared.dtype);
    const DataType dtype = is_other && is_body() ? DataType::float32 : declared.dtype;
    const ValueId id = graph_.add_input(input.name(), dtype, declared.shape.value_or(Shape{}));
    graph_.value(id).shape = declared.shape;
    graph_.value(id).items = declared.items;
    (is_other && !is_body() ? value.raw : value.real) = id;
    values_[input.name()] = value;
  }
}

void GraphReader::add_captured(std::span<const Captured> captured) {
  for (const Captured& outer : captured) {
    const bool is_shadowed = names_.contains(outer.name);
    Value value = outer.value;
    value.name = is_shadowed ? fresh(outer.name) : outer.name;
    FileValue known{.type = outer.file_type};
    if (value.constant) {
      if (is_shadowed) continue;
      known.real = graph_.add_value(std::move(value));
    } else {
      known.real = graph_.add_input(value.name, value.dtype, value.shape.value_or(Shape{}));
      graph_.value(known.real).shape = value.shape;
      graph_.value(known.real).items = value.items;
    }
    if (!is_shadowed) values_[outer.name] = known;
  }
}

// Values --------------------------------------------------------------------------------------------------------------

std::string GraphReader::fresh(const std::string& stem) const {
  return fresh_name(
      stem, [this](const std::string& name) { return names_.contains(name) || graph_.find(name) != ValueId::none; });
}

const ValueInfo& GraphReader::info(ValueId id) {
  const auto index = static_cast<std::size_t>(id);
  if (infos_.size() <= index) infos_.resize(index + 1);
  if (!infos_[index]) infos_[index] = declared_info(graph_.value(id));
  return *infos_[index];
}

std::vector<ValueInfo> GraphReader::infos_of(const std::vector<ValueId>& ids) {
  std::vector<ValueInfo> infos;
  for (ValueId id : ids) infos.push_back(id == ValueId::none ? ValueInfo{} : info(id));
  return infos;
}

ValueId GraphReader::add_cast(ValueId from, DataType to, const std::string& output) {
  const ValueId y = graph_.add_value({.name = output, .dtype = to});
  const NodeId id = graph_.add_node({.name = output, .op = Cast{to}, .inputs = {from}, .outputs = {y}});
  if (is_other_real(to)) own_casts_.insert(id);
  infer(id);
  return y;
}

// Renames the value `id` if it has this name, so that another value can take its name in the file.
void GraphReader::give_up_name(ValueId id, const std::string& name) {
  if (id == ValueId::none || graph_.value(id).name != name) return;
  graph_.rename_value(id, fresh(name + "/float32"));
}

// A constant that replaces an attribute. `has_name`: the file gives it a name, which several nodes may share.
ValueId GraphReader::add_constant(const std::string& name, bool has_name, Tensor tensor) {
  if (!has_name) return graph_.add_constant(fresh(name), std::move(tensor));
  const ValueId known = values_.contains(name) ? read_value(name) : graph_.find(name);
  if (known != ValueId::none && graph_.value(known).constant == tensor && !graph_.value(known).quant) return known;
  const bool is_free = known == ValueId::none && !names_.contains(name);
  return graph_.add_constant(is_free ? name : fresh(name), std::move(tensor));
}

ValueId GraphReader::read_value(const std::string& name) {
  if (name.empty()) return ValueId::none;
  FileValue& value = values_.at(name);
  if (value.real != ValueId::none) return value.real;
  if (value.elements) {
    const std::string own = graph_.find(name) == ValueId::none ? name : fresh(name + "/float32");
    const bool is_other = is_other_real(value.type);
    value.real = graph_.add_constant(own, is_other ? to_float32(*value.elements) : *value.elements);
    if (!is_other) value.elements.reset();
  } else {
    value.real = add_cast(value.raw, DataType::float32, fresh(name + "/float32"));
  }
  return value.real;
}

ValueId GraphReader::read_raw(const std::string& name) {
  if (name.empty()) return ValueId::none;
  FileValue& value = values_.at(name);
  if (!is_other_real(value.type)) return read_value(name);
  if (value.raw != ValueId::none) return value.raw;
  if (value.elements) {
    give_up_name(value.real, name);
    value.raw = graph_.add_constant(name, *value.elements);
  } else {
    value.raw = add_cast(value.real, value.type, fresh(fmt::format("{}/{}", name, to_string(value.type))));
  }
  return value.raw;
}

// The end -------------------------------------------------------------------------------------------------------------

void GraphReader::mark_output(const onnx::ValueInfoProto& output) {
  const auto found = output.name().empty() ? values_.end() : values_.find(output.name());
  check(found != values_.end(), "nothing produces the graph output '{}'", output.name());
  FileValue& value = found->second;
  output_types_.push_back(value.type);
  if (is_body() || !is_other_real(value.type)) return graph_.mark_output(read_value(output.name()));
  if (value.raw == ValueId::none && !value.elements) {
    give_up_name(value.real, output.name());
    value.raw = add_cast(value.real, value.type, output.name());
  }
  graph_.mark_output(read_raw(output.name()));
}

// A Cast of the file to another type of reals was read as a Cast to float32. If only a Cast back follows, it becomes
// the original Cast again.
void GraphReader::fuse_casts() {
  graph_.remove_dead();
  std::vector<NodeId> alive = graph_.nodes();
  for (NodeId id : file_casts_) {
    if (!std::ranges::binary_search(alive, id)) continue;
    const ValueId between = graph_.node(id).outputs[0];
    if (!graph_.has_single_consumer(between)) continue;
    const NodeId back = graph_.consumers(between)[0];
    if (!own_casts_.contains(back)) continue;
    const ValueId output = graph_.node(back).outputs[0];
    graph_.op(id) = graph_.node(back).op;
    graph_.remove_node(back);
    graph_.set_output(id, 0, output);
    const std::string name = graph_.value(between).name;
    if (own_.contains(name) || outputs_.contains(graph_.value(output).name)) continue;
    graph_.rename_value(between, fresh(name));
    graph_.rename_value(output, name);
  }
}

void GraphReader::name_nodes() {
  std::set<std::string> taken;
  for (NodeId id : graph_.nodes()) {
    const std::string stem = graph_.node(id).name;
    const std::string name = fresh_name(stem, [&](const std::string& candidate) { return taken.contains(candidate); });
    taken.insert(name);
    if (name != stem) graph_.rename_node(id, name);
  }
}

void adopt_captured(Graph& graph) {
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (node.bodies.empty()) continue;
    const std::size_t count = ops::captured_count(node);
    std::vector<std::shared_ptr<const Graph>> bodies;
    for (const auto& old : node.bodies) {
      auto body = std::make_shared<Graph>(*old);
      for (std::size_t i = 1; i <= count; ++i) {
        const Value& outer = graph.value(node.inputs[node.inputs.size() - i]);
        const ValueId inner = body->inputs()[body->inputs().size() - i];
        if (body->find(outer.name) == ValueId::none) body->rename_value(inner, outer.name);
        if (outer.quant) body->value(inner).quant = outer.quant;
      }
      adopt_captured(*body);
      bodies.push_back(std::move(body));
    }
    graph.set_bodies(id, std::move(bodies));
  }
}

}  // namespace bitfold
