#include "onnx/attributes.h"

#include <array>

#include "base/check.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

using Type = onnx::AttributeProto;

onnx::AttributeProto& add(onnx::NodeProto& node, std::string_view name, onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(std::string(name));
  attribute.set_type(type);
  return attribute;
}

/// ONNX's name of an alternative of AttributeValue.
std::string_view type_name(std::size_t index) {
  constexpr std::array<std::string_view, std::variant_size_v<ops::AttributeValue>> kNames{
      "INT", "FLOAT", "STRING", "INTS", "FLOATS", "STRINGS", "TENSOR", "INT"};
  return kNames.at(index);
}

struct Writer {
  onnx::NodeProto& node;
  std::string_view name;

  void operator()(std::int64_t value) const { add(node, name, Type::INT).set_i(value); }
  void operator()(float value) const { add(node, name, Type::FLOAT).set_f(value); }
  void operator()(const std::string& value) const { add(node, name, Type::STRING).set_s(value); }
  void operator()(const std::vector<std::int64_t>& values) const {
    onnx::AttributeProto& attribute = add(node, name, Type::INTS);
    for (std::int64_t value : values) attribute.add_ints(value);
  }
  void operator()(const std::vector<float>& values) const {
    onnx::AttributeProto& attribute = add(node, name, Type::FLOATS);
    for (float value : values) attribute.add_floats(value);
  }
  void operator()(const std::vector<std::string>& values) const {
    onnx::AttributeProto& attribute = add(node, name, Type::STRINGS);
    for (const std::string& value : values) attribute.add_strings(value);
  }
  void operator()(const Tensor& value) const { *add(node, name, Type::TENSOR).mutable_t() = write_tensor("", value); }
  void operator()(DataType value) const { add(node, name, Type::INT).set_i(onnx_number(value)); }
};

}  // namespace

std::optional<ops::AttributeValue> read_attribute(const onnx::AttributeProto& attribute, const std::string& folder) {
  using V = ops::AttributeValue;
  check(attribute.ref_attr_name().empty(), "attribute '{}' refers to a function's parameter outside a function",
        attribute.name());
  switch (attribute.type()) {
    case Type::INT:
      return V(std::int64_t{attribute.i()});
    case Type::FLOAT:
      return V(attribute.f());
    case Type::STRING:
      return V(attribute.s());
    case Type::INTS:
      return V(std::vector<std::int64_t>(attribute.ints().begin(), attribute.ints().end()));
    case Type::FLOATS:
      return V(std::vector<float>(attribute.floats().begin(), attribute.floats().end()));
    case Type::STRINGS:
      return V(std::vector<std::string>(attribute.strings().begin(), attribute.strings().end()));
    case Type::TENSOR:
      return V(read_tensor(attribute.t(), folder));
    default:
      return std::nullopt;
  }
}

std::optional<ops::AttributeValue> value_for(const ops::Field& field, ops::AttributeValue value) {
  static const std::size_t kDataType = ops::AttributeValue(DataType::float32).index();
  const auto* number = std::get_if<std::int64_t>(&value);
  if (field.type == kDataType && number != nullptr) {
    const auto dtype = data_type_of_onnx(static_cast<int>(*number));
    if (!dtype) return std::nullopt;
    return ops::AttributeValue(*dtype);
  }
  check(value.index() == field.type, "attribute '{}' has type {}, expected {}", field.name, type_name(value.index()),
        type_name(field.type));
  return value;
}

void set_attribute(onnx::NodeProto& node, std::string_view name, const ops::AttributeValue& value) {
  std::visit(Writer{node, name}, value);
}
void set_integer(onnx::NodeProto& node, const char* name, std::int64_t value) { Writer{node, name}(value); }
void set_real(onnx::NodeProto& node, const char* name, float value) { Writer{node, name}(value); }
void set_word(onnx::NodeProto& node, const char* name, std::string_view value) {
  Writer{node, name}(std::string(value));
}
void set_integers(onnx::NodeProto& node, const char* name, const std::vector<std::int64_t>& values) {
  Writer{node, name}(values);
}
void set_reals(onnx::NodeProto& node, const char* name, const std::vector<float>& values) {
  Writer{node, name}(values);
}
void set_tensor(onnx::NodeProto& node, const char* name, const Tensor& value) { Writer{node, name}(value); }

void set_graph(onnx::NodeProto& node, const char* name, onnx::GraphProto value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::GRAPH);
  *attribute.mutable_g() = std::move(value);
}

const onnx::AttributeProto* find_attribute(const onnx::NodeProto& node, std::string_view name) {
  for (const auto& attribute : node.attribute())
    if (attribute.name() == name) return &attribute;
  return nullptr;
}

void remove_attribute(onnx::NodeProto& node, std::string_view name) {
  for (int i = node.attribute_size() - 1; i >= 0; --i)
    if (node.attribute(i).name() == name) node.mutable_attribute()->DeleteSubrange(i, 1);
}

}  // namespace bitfold
