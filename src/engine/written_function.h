// Functions of one real that exporters write as several elementwise nodes, such as x * Sigmoid(x).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/lowering.h"
#include "kernels/functions/functions.h"

namespace bitfold::engine {

/// Nodes that together compute `output` = function(x), element by element.
struct WrittenFunction {
  RealFunction function = RealFunction::swish;  ///< swish, hard_swish, mish, gelu or gelu_tanh.
  float alpha = 1;                              ///< For swish: the factor inside the sigmoid.
  std::vector<NodeId> nodes;                    ///< The one that computes `output` comes last.
  ValueId output = ValueId::none;
};

/// The function that most nodes after `x` compute together; no other node reads the values between. Functions are
/// recognized by their results for some numbers, so that it does not matter how they are written. Claimed nodes are
/// left out, except `claimed`.
std::optional<WrittenFunction> find_written_function(const Lowering& lowering, ValueId x,
                                                     NodeId claimed = NodeId::none);

/// Whether no other node reads x.
bool reads_all_of(const Lowering& lowering, const WrittenFunction& written, ValueId x);

/// "Sigmoid+Mul"
std::string operator_names(const Lowering& lowering, const WrittenFunction& written);

/// Claims the nodes.
void claim(Lowering& lowering, const WrittenFunction& written);

}  // namespace bitfold::engine
