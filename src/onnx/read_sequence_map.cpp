// SequenceMap applies its body to the tensors at each position of its sequences. It is read as the Loop that ONNX
// defines it by: the body takes the tensors from the sequences and appends its results to sequences that it carries.
#include <algorithm>

#include "base/check.h"
#include "graph/fresh_name.h"
#include "onnx/attributes.h"
#include "onnx/read_graph.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

template <class Parent>
void append_node(Parent& parent, const std::string& type, const std::vector<std::string>& inputs,
                 const std::string& output) {
  onnx::NodeProto& node = *parent.add_node();
  node.set_op_type(type);
  node.set_name(output);
  for (const std::string& input : inputs) node.add_input(input);
  node.add_output(output);
}

void declare(onnx::ValueInfoProto& info, const std::string& name, DataType dtype, const std::optional<Shape>& shape,
             const std::optional<ItemType>& items) {
  info.set_name(name);
  *info.mutable_type() = write_type(dtype, shape, items);
}

std::set<std::string> names_in(const onnx::GraphProto& graph) {
  std::set<std::string> names;
  for (const auto& value : graph.input()) names.insert(value.name());
  for (const auto& tensor : graph.initializer()) names.insert(tensor.name());
  for (const auto& node : graph.node()) names.insert(node.output().begin(), node.output().end());
  return names;
}

}  // namespace

std::optional<std::string> GraphReader::read_sequence_map(const SourceNode& source) {
  const onnx::NodeProto& node = *source.proto;
  const onnx::AttributeProto* attribute = find_attribute(node, "body");
  check(attribute != nullptr && attribute->has_g(), "attribute 'body' is missing");
  const onnx::GraphProto& mapped = attribute->g();
  check(node.input_size() > 0 && mapped.input_size() == node.input_size(), "'body' has {} inputs, expected {}",
        mapped.input_size(), node.input_size());
  check(mapped.output_size() == node.output_size(), "'body' has {} outputs, expected {}", mapped.output_size(),
        node.output_size());
  std::set<std::string> taken = names_in(mapped);
  const auto own = [&](const std::string& what) {
    const std::string name = fresh_name(node.output(0) + "/" + what, [&](const std::string& candidate) {
      return taken.contains(candidate) || names_.contains(candidate) || graph_.find(candidate) != ValueId::none;
    });
    taken.insert(name);
    names_.insert(name);
    read_.insert(name);
    return name;
  };

  onnx::GraphProto outer;  // the nodes that replace the SequenceMap, in order
  const std::string length = own("length"), position = own("position"), goes_on = own("goes_on"), next = own("next");
  onnx::NodeProto loop;
  onnx::GraphProto body;
  body.set_name("body");
  declare(*body.add_input(), position, DataType::int64, Shape{}, {});
  declare(*body.add_input(), goes_on, DataType::boolean, Shape{}, {});
  append_node(body, "Identity", {goes_on}, next);
  declare(*body.add_output(), next, DataType::boolean, Shape{}, {});
  for (int i = 0; i < node.input_size(); ++i) {
    const ValueId id = read_value(node.input(i));
    check(id != ValueId::none, "input {} is missing", i);
    const bool is_sequence = graph_.value(id).dtype == DataType::sequence;
    check(i > 0 || is_sequence, "its first input is {}, not a sequence", to_string(graph_.value(id).dtype));
    std::string captured = node.input(i);
    if (taken.contains(captured)) {  // the body has a value of that name
      captured = own("input");
      append_node(outer, "Identity", {node.input(i)}, captured);
    }
    if (i == 0) append_node(outer, "SequenceLength", {captured}, length);
    if (is_sequence)
      append_node(body, "SequenceAt", {captured, position}, mapped.input(i).name());
    else
      append_node(body, "Identity", {captured}, mapped.input(i).name());
  }
  body.mutable_node()->MergeFrom(mapped.node());
  body.mutable_initializer()->MergeFrom(mapped.initializer());
  body.mutable_value_info()->MergeFrom(mapped.value_info());
  loop.add_input(length);
  loop.add_input("");
  for (int k = 0; k < mapped.output_size(); ++k) {
    const auto& type = mapped.output(k).type();
    const auto dtype = type.has_tensor_type() ? data_type_of_onnx(type.tensor_type().elem_type()) : std::nullopt;
    if (!dtype) return fmt::format("its body does not declare the element type of output {}", k);
    const std::string empty = own("empty"), carried = own("carried"), longer = own("longer");
    append_node(outer, "SequenceEmpty", {}, empty);
    set_integer(*outer.mutable_node(outer.node_size() - 1), "dtype", onnx_number(*dtype));
    declare(*body.add_input(), carried, DataType::sequence, {}, ItemType{*dtype, {}});
    append_node(body, "SequenceInsert", {carried, mapped.output(k).name()}, longer);
    declare(*body.add_output(), longer, DataType::sequence, {}, ItemType{*dtype, {}});
    loop.add_input(empty);
    loop.add_output(node.output(k));
  }
  loop.set_op_type("Loop");
  loop.set_name(node.name());
  set_graph(loop, "body", std::move(body));
  *outer.add_node() = std::move(loop);
  for (const onnx::NodeProto& made : outer.node()) read_node({&made, source.opsets});
  return std::nullopt;
}

}  // namespace bitfold
