// One row per ONNX operator: from which opset to which, how it becomes an Op, and how an Op writes its attributes.
//
// What no row covers, or a row's import function declines, becomes Opaque.
#pragma once

#include <onnx/onnx_pb.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/graph.h"
#include "onnx/attributes.h"

namespace bitfold {

inline constexpr std::int64_t kOldestOpset = 7;  ///< Below, broadcasting and normalization meant something else.
inline constexpr std::int64_t kLatestOpset = 25;
inline constexpr std::int64_t kExportOpset = 21;  ///< The first with 4-bit and 16-bit codes.

/// One node on its way into the graph. Import functions read attributes, and may turn them into constant inputs.
struct NodeImport {
  Graph& graph;
  const onnx::NodeProto& proto;
  std::int64_t opset = 0;
  AttributeReader attributes;
  std::vector<ValueId> inputs;
  std::size_t output_count = 0;  ///< Up to the last one that something reads.

  bool has(std::size_t slot) const { return slot < inputs.size() && inputs[slot] != ValueId::none; }
  /// The elements of a plain constant input; null where the input is absent, computed, or carries a grid.
  const Tensor* constant(std::size_t slot) const;
  std::optional<Shape> shape(std::size_t slot) const;
  std::optional<int> rank(std::size_t slot) const;
  /// Makes input `slot` a new constant, named after the node's output.
  void set_constant(std::size_t slot, std::string_view what, Tensor tensor);
};

/// None for a variant that no Op expresses. Attributes left unread mean the same.
using ImportFunction = std::optional<Op> (*)(NodeImport& node);
/// Adds the op's attributes to a node whose type, inputs and outputs are set.
using ExportFunction = void (*)(const Op& op, onnx::NodeProto& node);

struct OpRow {
  const char* type;
  std::int64_t since, until;  ///< Opsets in which the import function is right.
  ImportFunction import_node;
  ExportFunction export_node;  ///< Null in rows for older forms.
};

/// The row for an operator of the default domain at an opset; null when there is none.
const OpRow* find_row(std::string_view type, std::int64_t opset);
/// The row that writes an operator; null for Requantize and Opaque.
const OpRow* find_export_row(std::string_view type);

// The families, each in its own file.
std::span<const OpRow> layer_rows();        ///< Convolutions, matrix products, normalizations, pools.
std::span<const OpRow> elementwise_rows();  ///< One element in, one out.
std::span<const OpRow> reduction_rows();    ///< Reductions, softmax.
std::span<const OpRow> layout_rows();       ///< Moves elements without computing.

Tensor int64_vector(const std::vector<std::int64_t>& values);
Tensor float_scalar(float value);

/// For operators without attributes.
inline void export_nothing(const Op&, onnx::NodeProto&) {}

}  // namespace bitfold
