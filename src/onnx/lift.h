// Converts a node from the form that its operator has in an older opset to the present form, which the operator's row
// describes.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "bitfold/graph.h"
#include "ops/field.h"

namespace bitfold {

inline constexpr std::int64_t kOldestReadOpset = 1;
/// The oldest opset that is written. Broadcasting was defined differently before; see lift_early().
inline constexpr std::int64_t kOldestOpset = 7;
inline constexpr std::int64_t kLatestOpset = 28;  ///< The newest opset whose operators are known.

/// A node's doc_string for constants that became attributes of an older opset: one line "bitfold.constant:WHAT=NAME"
/// per constant, so that reading restores their names.
inline constexpr const char* kConstantName = "bitfold.constant:";

/// A node of a file while it is converted to a node of a graph.
struct NodeForm {
  Graph& graph;
  const onnx::NodeProto& proto;  ///< The node in the file, which names the outputs.
  std::int64_t opset = 0;        ///< The opset of the node's domain.
  std::string type = {};
  std::map<std::string, ops::AttributeValue, std::less<>> attributes = {};
  /// Values of internal fields, which are not attributes in files.
  std::map<std::string, ops::AttributeValue> internal = {};
  std::vector<ValueId> inputs = {};
  std::size_t output_count = 0;  ///< One more than the index of the last output that something reads.
  /// Adds a node with one input before this one. Returns its output, which has that name.
  std::function<ValueId(Op op, ValueId input, const std::string& name)> add_output = {};
  /// Outputs that lift() has computed by nodes of their own, by index; the node gives the others.
  std::map<std::size_t, ValueId> computed = {};
  /// Adds a constant. If the file gives it a name, an equal constant of that name is used instead.
  std::function<ValueId(const std::string& name, bool has_name, Tensor tensor)> add_constant = {};

  /// Adds a node with one output before this one. Returns that output, whose name begins with the node's.
  std::function<ValueId(Op op, std::vector<ValueId> inputs, std::string_view what)> add_node = {};

  bool has(std::size_t slot) const { return slot < inputs.size() && inputs[slot] != ValueId::none; }
  /// The elements of a plain constant input; null if the input is absent, computed, or carries a grid.
  const Tensor* constant(std::size_t slot) const;
  std::optional<Shape> shape(std::size_t slot) const;
  /// Makes input `slot` a constant, named after the node's first output unless the file gives it a name.
  void set_constant(std::size_t slot, std::string_view what, Tensor tensor);

  /// Removes the attribute and returns its value. Throws Error if it has another type than T.
  template <class T>
  std::optional<T> take(std::string_view name) {
    const auto it = attributes.find(name);
    if (it == attributes.end()) return std::nullopt;
    const T* typed = std::get_if<T>(&it->second);
    check(typed != nullptr, "attribute '{}' has another type than opset {} gives it", name, opset);
    T value = *typed;
    attributes.erase(it);
    return value;
  }
};

/// Converts a node to its operator's present form, which may be another operator (Dropout becomes Identity). Returns a
/// reason if the node has no such form; the node is then partly changed. Throws Error if the node contradicts its own
/// opset.
std::optional<std::string> lift(NodeForm& node);

/// The part of lift() for opsets below 7: brings the node to the form that its operator has in opset 7.
std::optional<std::string> lift_early(NodeForm& node);

/// Whether lift() converts the form that an operator has in `opset` to the form that it has from opset `since` on.
bool has_lift(std::string_view type, std::int64_t opset, std::int64_t since);
/// Whether lift() handles the operator in any opset.
bool has_lift(std::string_view type);

/// Whether a softmax over all axes from `axis` on equals one along that axis: no later axis is longer than 1.
bool is_along_one_axis(const std::optional<Shape>& shape, std::int64_t axis);

Tensor int64_vector(const std::vector<std::int64_t>& values);
Tensor float_scalar(float value);

}  // namespace bitfold
