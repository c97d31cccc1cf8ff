// The bodies of If, Loop and Scan.
#include <algorithm>

#include "base/check.h"
#include "onnx/attributes.h"
#include "onnx/read_graph.h"
#include "onnx/sort_nodes.h"
#include "ops/control.h"
#include "ops/operator.h"

namespace bitfold {
namespace {

/// Whether each input and output has a type of which read_type() reads the kind, or none.
bool has_known_types(const onnx::GraphProto& graph) {
  const auto is_known = [](const onnx::ValueInfoProto& info) {
    const auto kind = info.type().value_case();
    return kind == onnx::TypeProto::kTensorType || kind == onnx::TypeProto::kSequenceType ||
           kind == onnx::TypeProto::kOptionalType || kind == onnx::TypeProto::VALUE_NOT_SET;
  };
  return std::ranges::all_of(graph.input(), is_known) && std::ranges::all_of(graph.output(), is_known);
}

}  // namespace

// Bodies are closed: a value that they read from outside becomes an input of the node, and of each body in the same
// order.
std::optional<std::string> GraphReader::read_bodies(const SourceNode& source, const ops::OperatorInfo& row,
                                                    NodeForm& form, Node& made, std::vector<DataType>& output_types) {
  const onnx::NodeProto& node = *source.proto;
  std::vector<const onnx::GraphProto*> graphs;
  for (const std::string_view name : row.bodies) {
    const onnx::AttributeProto* attribute = find_attribute(node, name);
    check(attribute != nullptr && attribute->has_g(), "attribute '{}' is missing", name);
    if (!has_known_types(attribute->g())) return "its body passes values that are not tensors";
    graphs.push_back(&attribute->g());
  }
  // Captured values follow the inputs of the variadic slot, which is the last one.
  form.inputs.resize(std::max(form.inputs.size(), row.inputs.size() - 1), ValueId::none);
  const std::vector<ValueInfo> infos = ops::body_inputs(made.op, infos_of(form.inputs));
  std::vector<Captured> captured;
  std::size_t count = 0;
  for (const std::string& name : captured_names(node)) {
    const ValueId id = read_value(name);
    captured.push_back({name, values_.at(name).type, graph_.value(id)});
    if (graph_.is_constant(id)) continue;
    captured.back().value.quant.reset();
    form.inputs.push_back(id);
    ++count;
  }
  ops::set_captured_count(made.op, count);
  for (std::size_t i = 0; i < graphs.size(); ++i) {
    check(static_cast<std::size_t>(graphs[i]->input_size()) == infos.size(), "'{}' has {} inputs, expected {}",
          row.bodies[i], graphs[i]->input_size(), infos.size());
    GraphReader reader(file_, *graphs[i], *source.opsets, fmt::format("{}{}.{}/", path_, node.name(), i));
    made.bodies.push_back(std::make_shared<const Graph>(reader.read(infos, captured)));
    if (i == 0) output_types = reader.output_types();
  }
  const std::size_t inner = std::min(ops::inner_output_count(made.op), output_types.size());
  output_types.erase(output_types.begin(), output_types.begin() + static_cast<std::ptrdiff_t>(inner));
  return std::nullopt;
}

}  // namespace bitfold
