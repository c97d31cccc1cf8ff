// Converts attributes of nodes in files to and from the values of an operator's fields.
#pragma once

#include <onnx/onnx_pb.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/field.h"

namespace bitfold {

/// None for kinds that no field has: subgraphs, types, sparse tensors. External data of a tensor is read from `folder`.
/// Throws Error if the attribute refers to the parameter of a function.
std::optional<ops::AttributeValue> read_attribute(const onnx::AttributeProto& attribute, const std::string& folder);

/// Throws Error, naming the attribute and both types, unless `value` has the type of the field. An integer becomes the
/// element type with that number if the field holds an element type; the result is none for a type that Bitfold lacks.
std::optional<ops::AttributeValue> value_for(const ops::Field& field, ops::AttributeValue value);

/// Adds an attribute to a node.
void set_attribute(onnx::NodeProto& node, std::string_view name, const ops::AttributeValue& value);
void set_integer(onnx::NodeProto& node, const char* name, std::int64_t value);
void set_real(onnx::NodeProto& node, const char* name, float value);
void set_word(onnx::NodeProto& node, const char* name, std::string_view value);
void set_integers(onnx::NodeProto& node, const char* name, const std::vector<std::int64_t>& values);
void set_reals(onnx::NodeProto& node, const char* name, const std::vector<float>& values);
void set_tensor(onnx::NodeProto& node, const char* name, const Tensor& value);
void set_graph(onnx::NodeProto& node, const char* name, onnx::GraphProto value);

/// Null if the node has no attribute of that name.
const onnx::AttributeProto* find_attribute(const onnx::NodeProto& node, std::string_view name);
void remove_attribute(onnx::NodeProto& node, std::string_view name);

}  // namespace bitfold
