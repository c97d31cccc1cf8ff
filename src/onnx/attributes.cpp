#include "onnx/attributes.h"

#include <algorithm>

#include "base/check.h"
#include "onnx/wire.h"

namespace bitfold {
namespace {

using Type = onnx::AttributeProto;

onnx::AttributeProto& add(onnx::NodeProto& node, const char* name, onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(type);
  return attribute;
}

}  // namespace

AttributeReader::AttributeReader(const onnx::NodeProto& node, std::string folder)
    : node_(node), folder_(std::move(folder)), read_(static_cast<std::size_t>(node.attribute_size()), false) {}

const onnx::AttributeProto* AttributeReader::find(std::string_view name) {
  for (int i = 0; i < node_.attribute_size(); ++i) {
    if (node_.attribute(i).name() != name) continue;
    read_[static_cast<std::size_t>(i)] = true;
    return &node_.attribute(i);
  }
  return nullptr;
}

const onnx::AttributeProto* AttributeReader::find(std::string_view name, onnx::AttributeProto::AttributeType type) {
  const onnx::AttributeProto* attribute = find(name);
  if (attribute == nullptr) return nullptr;
  check(attribute->ref_attr_name().empty(), "attribute '{}' refers to a function's parameter outside a function", name);
  check(attribute->type() == type, "attribute '{}' has type {}, expected {}", name,
        onnx::AttributeProto::AttributeType_Name(attribute->type()), onnx::AttributeProto::AttributeType_Name(type));
  return attribute;
}

std::optional<std::int64_t> AttributeReader::integer(std::string_view name) {
  const auto* attribute = find(name, Type::INT);
  return attribute ? std::optional(attribute->i()) : std::nullopt;
}

std::optional<float> AttributeReader::real(std::string_view name) {
  const auto* attribute = find(name, Type::FLOAT);
  return attribute ? std::optional(attribute->f()) : std::nullopt;
}

std::optional<std::string> AttributeReader::word(std::string_view name) {
  const auto* attribute = find(name, Type::STRING);
  return attribute ? std::optional(attribute->s()) : std::nullopt;
}

std::optional<std::vector<std::int64_t>> AttributeReader::integers(std::string_view name) {
  const auto* attribute = find(name, Type::INTS);
  if (attribute == nullptr) return std::nullopt;
  return std::vector<std::int64_t>(attribute->ints().begin(), attribute->ints().end());
}

std::optional<std::vector<float>> AttributeReader::reals(std::string_view name) {
  const auto* attribute = find(name, Type::FLOATS);
  if (attribute == nullptr) return std::nullopt;
  return std::vector<float>(attribute->floats().begin(), attribute->floats().end());
}

std::optional<Tensor> AttributeReader::tensor(std::string_view name) {
  const auto* attribute = find(name, Type::TENSOR);
  return attribute ? std::optional(read_tensor(attribute->t(), folder_)) : std::nullopt;
}

bool AttributeReader::all_read() const {
  return std::all_of(read_.begin(), read_.end(), [](bool read) { return read; });
}

void set_integer(onnx::NodeProto& node, const char* name, std::int64_t value) {
  add(node, name, Type::INT).set_i(value);
}

void set_real(onnx::NodeProto& node, const char* name, float value) { add(node, name, Type::FLOAT).set_f(value); }

void set_word(onnx::NodeProto& node, const char* name, std::string_view value) {
  add(node, name, Type::STRING).set_s(std::string(value));
}

void set_integers(onnx::NodeProto& node, const char* name, const std::vector<std::int64_t>& values) {
  onnx::AttributeProto& attribute = add(node, name, Type::INTS);
  for (std::int64_t value : values) attribute.add_ints(value);
}

void set_tensor(onnx::NodeProto& node, const char* name, const Tensor& value) {
  *add(node, name, Type::TENSOR).mutable_t() = write_tensor("", value);
}

}  // namespace bitfold
