// The older forms of operators, by family, and helpers to find and write them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/lower_opset.h"

namespace bitfold::older {

using Ints = std::vector<std::int64_t>;
using Reason = std::optional<std::string>;

/// The form of an operator below opset `since`. `why_not` returns why a node cannot be written in it; if `why_not` is
/// null, no node can. `write` converts the next newer form to it; null means that both are the same.
struct Form {
  std::string_view type;
  std::int64_t since;
  Reason (*why_not)(const Graph& graph, const Node& node);
  void (*write)(NodeWriting& writing) = nullptr;
  /// The older form is several nodes, which reading the file does not combine again. Used only if the caller asks for
  /// the opset.
  bool is_split = false;
};

// Each operator's forms are in order from the newest opset to the oldest. If the `since` of an operator's row does not
// occur here, the operator does not exist below that opset.
std::span<const Form> computing_forms();  ///< Layers, elementwise functions, reductions, bodies.
std::span<const Form> moving_forms();     ///< Operators that move, select or sample elements.
/// Calls f(form) for every form of the operator, from the newest to the oldest.
template <class F>
void for_each_form(std::string_view type, F f) {
  for (const auto forms : {computing_forms(), moving_forms()})
    for (const Form& form : forms)
      if (form.type == type) f(form);
}

/// ONNX Runtime's layout pass refuses axes of a Pad, so they are not written if the rank is known.
void expand_pad_axes(NodeWriting& writing);

// Facts about a node's inputs.
bool has(const Node& node, std::size_t slot);
const Value* input(const Graph& graph, const Node& node, std::size_t slot);      ///< Null if absent.
const Tensor* constant(const Graph& graph, const Node& node, std::size_t slot);  ///< Null if absent or computed.
std::optional<Ints> constant_ints(const Graph& graph, const Node& node, std::size_t slot);
std::optional<Shape> shape_of(const Graph& graph, const Node& node, std::size_t slot);

// Reasons that several operators share.
Reason never(const Graph& graph, const Node& node);  ///< Every node has the older form.
Reason unless_constant(const Graph& graph, const Node& node, std::initializer_list<std::size_t> slots);

void drop_input(onnx::NodeProto& proto, int slot);
/// Turns a constant input into an attribute. The constant's name is stored if reading the file would not restore it.
void input_to_attribute(NodeWriting& writing, std::size_t slot, const char* name);

}  // namespace bitfold::older
