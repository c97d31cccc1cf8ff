// From the form that an operator has in an older opset to its present form, that of its row in the operator table.
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

#include "bitfold/graph.h"
#include "ops/field.h"

namespace bitfold {

inline constexpr std::int64_t kOldestOpset = 7;   ///< Below it, broadcasting and normalization meant something else.
inline constexpr std::int64_t kLatestOpset = 28;  ///< The newest whose operators are known.

/// A node's doc_string for constants that became attributes of an older opset: one line "bitfold.constant:WHAT=NAME"
/// for each, so that they get their names back.
inline constexpr const char* kConstantName = "bitfold.constant:";

/// A node of a file on its way into a graph.
struct NodeForm {
  Graph& graph;
  const onnx::NodeProto& proto;  ///< As the file has it; outputs are named there.
  std::int64_t opset = 0;        ///< Of the node's domain.
  std::string type = {};
  std::map<std::string, ops::AttributeValue, std::less<>> attributes = {};
  std::map<std::string, ops::AttributeValue> internal = {};  ///< For fields that no file has as attributes.
  std::vector<ValueId> inputs = {};
  std::size_t output_count = 0;  ///< Up to the last output that something reads.
  /// Adds a constant, or finds the equal one of that name where the file says the name.
  std::function<ValueId(const std::string& name, bool has_name, Tensor tensor)> add_constant = {};

  bool has(std::size_t slot) const { return slot < inputs.size() && inputs[slot] != ValueId::none; }
  /// The elements of a plain constant input; null where the input is absent, computed, or carries a grid.
  const Tensor* constant(std::size_t slot) const;
  std::optional<Shape> shape(std::size_t slot) const;
  /// Makes input `slot` a constant, named after the node's first output unless the file says its name.
  void set_constant(std::size_t slot, std::string_view what, Tensor tensor);

  /// Removes the attribute and returns its value. Throws Error when it has another type than T.
  template <class T>
  std::optional<T> take(std::string_view name);
};

/// Brings a node into its operator's present form, which may be another operator (Dropout becomes Identity). A result
/// is the reason why the node has no such form; the node is then half changed. Throws Error where the node contradicts
/// its own opset.
std::optional<std::string> lift(NodeForm& node);

/// Whether lift() turns the form that an operator has in `opset` into the form that it has from opset `since` on.
bool has_lift(std::string_view type, std::int64_t opset, std::int64_t since);
/// Whether lift() has anything to say of the operator.
bool has_lift(std::string_view type);

/// Whether a softmax over all axes from `axis` on is one along that axis: no later one is longer than 1.
bool is_along_one_axis(const std::optional<Shape>& shape, std::int64_t axis);

Tensor int64_vector(const std::vector<std::int64_t>& values);
Tensor float_scalar(float value);

}  // namespace bitfold
