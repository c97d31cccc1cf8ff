#include "onnx/functions.h"

#include <google/protobuf/unknown_field_set.h>

#include <algorithm>

#include "base/check.h"
#include "graph/fresh_name.h"
#include "onnx/sort_nodes.h"

namespace bitfold {
namespace {

constexpr std::size_t kMaxNodes = 1'000'000;
// Fields that the installed schema may not have.
constexpr int kFunctionAttributeProto = 11, kFunctionOverload = 13, kNodeOverload = 8;

std::string unknown_string(const google::protobuf::UnknownFieldSet& fields, int number) {
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == number &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      return fields.field(i).length_delimited();
  return "";
}

}  // namespace

std::string domain_of(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

Opsets read_opsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  Opsets opsets;
  for (const auto& import : imports) {
    const auto [it, fresh] = opsets.try_emplace(domain_of(import.domain()), import.version());
    check(fresh || it->second == import.version(), "imports operator set '{}' in versions {} and {}", import.domain(),
          it->second, import.version());
  }
  return opsets;
}

Functions::Functions(const onnx::ModelProto& model) {
  for (const auto& proto : model.functions()) {
    Function function{.proto = &proto, .opsets = read_opsets(proto.opset_import()), .defaults = {}};
    const auto& fields = proto.GetReflection()->GetUnknownFields(proto);
    for (int i = 0; i < fields.field_count(); ++i) {
      if (fields.field(i).number() != kFunctionAttributeProto) continue;
      onnx::AttributeProto attribute;
      check(fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED &&
                attribute.ParseFromString(fields.field(i).length_delimited()),
            "function '{}' has a default that does not parse", proto.name());
      function.defaults[attribute.name()] = attribute;
    }
    Key key{domain_of(proto.domain()), proto.name(), unknown_string(fields, kFunctionOverload)};
    check(functions_.emplace(std::move(key), std::move(function)).second, "has two functions '{}' of domain '{}'",
          proto.name(), proto.domain());
  }
  if (!functions_.empty()) take_names(model.graph());
}

void Functions::take_names(const onnx::GraphProto& graph) {
  for (const auto& input : graph.input()) taken_.insert(input.name());
  for (const auto& tensor : graph.initializer()) taken_.insert(tensor.name());
  for (const auto& node : graph.node()) {
    taken_.insert(node.output().begin(), node.output().end());
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) take_names(attribute.g());
      for (const auto& inner : attribute.graphs()) take_names(inner);
    }
  }
}

const Functions::Function* Functions::find(const onnx::NodeProto& node) const {
  if (functions_.empty()) return nullptr;
  const Key key{domain_of(node.domain()), node.op_type(),
                unknown_string(node.GetReflection()->GetUnknownFields(node), kNodeOverload)};
  const auto it = functions_.find(key);
  return it == functions_.end() ? nullptr : &it->second;
}

std::string Functions::fresh(const std::string& stem) {
  const std::string name =
      fresh_name(stem, [this](const std::string& candidate) { return taken_.contains(candidate); });
  taken_.insert(name);
  return name;
}

std::vector<SourceNode> Functions::expand(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes,
                                          const Opsets& opsets) {
  std::vector<SourceNode> expanded;
  for (const auto& node : nodes) expand(node, opsets, expanded);
  return expanded;
}

void Functions::expand(const onnx::NodeProto& node, const Opsets& opsets, std::vector<SourceNode>& to) {
  const Function* function = find(node);
  if (function == nullptr) {
    to.push_back({&node, &opsets});
    return;
  }
  check(active_.insert(function).second, "{} calls the function that it is part of", where(node));
  call(*function, node, to);
  active_.erase(function);
}

void Functions::call(const Function& function, const onnx::NodeProto& node, std::vector<SourceNode>& to) {
  const onnx::FunctionProto& proto = *function.proto;
  check(node.input_size() <= proto.input_size() && node.output_size() <= proto.output_size(),
        "{} has {} inputs and {} outputs, but its function has {} and {}", where(node), node.input_size(),
        node.output_size(), proto.input_size(), proto.output_size());
  const std::string stem = !node.name().empty() ? node.name() : node.output_size() > 0 ? node.output(0) : "call";
  Names names{{"", ""}};
  for (int i = 0; i < proto.input_size(); ++i) names[proto.input(i)] = i < node.input_size() ? node.input(i) : "";
  // A function's output that is also its input, or another output, has a name already. An Identity gives it the
  // caller's name.
  std::vector<std::pair<std::string, std::string>> copies;
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty()) continue;
    const auto [it, is_first] = names.try_emplace(proto.output(i), node.output(i));
    if (!is_first) copies.emplace_back(it->second, node.output(i));
  }
  for (const auto& inner : proto.node())
    for (const std::string& name : inner.output())
      if (!name.empty() && !names.contains(name)) names[name] = fresh(stem + "/" + name);
  for (const auto& inner : proto.node()) {
    check(made_.size() < kMaxNodes, "{} expands to more than {} nodes", where(node), kMaxNodes);
    onnx::NodeProto& copy = made_.emplace_back(inner);
    rename(copy, names, node, function);
    if (!inner.name().empty()) copy.set_name(stem + "/" + inner.name());
    expand(copy, function.opsets, to);
  }
  for (const auto& [from, name] : copies) {
    onnx::NodeProto& identity = made_.emplace_back();
    identity.set_op_type("Identity");
    identity.add_input(from);
    identity.add_output(name);
    to.push_back({&identity, &function.opsets});
  }
}

void Functions::rename(onnx::NodeProto& node, const Names& names, const onnx::NodeProto& call,
                       const Function& function) {
  const auto renamed = [&](const std::string& name) {
    const auto it = names.find(name);
    check(it != names.end(), "{} reads '{}', which nothing in its function produces", where(node), name);
    return it->second;
  };
  for (std::string& name : *node.mutable_input()) name = renamed(name);
  for (std::string& name : *node.mutable_output()) name = renamed(name);
  for (int i = node.attribute_size() - 1; i >= 0; --i) {
    onnx::AttributeProto& attribute = *node.mutable_attribute(i);
    if (const std::string parameter = attribute.ref_attr_name(); !parameter.empty()) {
      const std::string name = attribute.name();
      const onnx::AttributeProto* given = nullptr;
      for (const auto& of_call : call.attribute())
        if (of_call.name() == parameter) given = &of_call;
      const auto fallback = function.defaults.find(parameter);
      if (given == nullptr && fallback != function.defaults.end()) given = &fallback->second;
      if (given == nullptr) {
        node.mutable_attribute()->DeleteSubrange(i, 1);  // an attribute that the caller omits
        continue;
      }
      attribute = *given;
      attribute.set_name(name);
    } else {
      if (attribute.has_g()) rename(*attribute.mutable_g(), names, call, function);
      for (auto& graph : *attribute.mutable_graphs()) rename(graph, names, call, function);
    }
  }
}

void Functions::rename(onnx::GraphProto& graph, Names names, const onnx::NodeProto& call, const Function& function) {
  const auto own = [&](const std::string& name) {
    if (!name.empty()) names[name] = fresh(name);
  };
  for (const auto& input : graph.input()) own(input.name());
  for (const auto& tensor : graph.initializer())
    if (std::none_of(graph.input().begin(), graph.input().end(),
                     [&](const auto& input) { return input.name() == tensor.name(); }))
      own(tensor.name());
  for (const auto& node : graph.node())
    for (const std::string& name : node.output()) own(name);
  const auto rename_info = [&](onnx::ValueInfoProto& info) {
    if (const auto it = names.find(info.name()); it != names.end()) info.set_name(it->second);
  };
  for (auto& input : *graph.mutable_input()) rename_info(input);
  for (auto& output : *graph.mutable_output()) rename_info(output);
  for (auto& info : *graph.mutable_value_info()) rename_info(info);
  for (auto& tensor : *graph.mutable_initializer()) tensor.set_name(names.at(tensor.name()));
  for (auto& node : *graph.mutable_node()) rename(node, names, call, function);
}

}  // namespace bitfold
