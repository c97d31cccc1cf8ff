// Operators that the user of Bitfold has registered. Their nodes stay Opaque; the row of Opaque finds the functions
// here.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "bitfold/node.h"
#include "ops/infer.h"

namespace bitfold::ops {

struct CustomFunctions {
  std::function<Outputs(const Inputs& inputs)> infer;
  std::function<void(const Node& node, std::span<const TensorView> inputs, std::span<const TensorView> outputs)>
      evaluate;
};

/// Throws Error if there is an operator of that name already. The functions stay registered.
void add_custom(const std::string& domain, const std::string& name, CustomFunctions functions);

/// Null if no operator of that name is registered. Several threads may call it, also during add_custom().
const CustomFunctions* find_custom(std::string_view domain, std::string_view name);
inline const CustomFunctions* find_custom(const Opaque& op) { return find_custom(op.domain, op.type); }

/// Whether neither Bitfold nor its user has functions for the operator.
inline bool is_unknown_operator(const Op& op) {
  const auto* opaque = std::get_if<Opaque>(&op);
  return opaque != nullptr && find_custom(*opaque) == nullptr;
}

}  // namespace bitfold::ops
