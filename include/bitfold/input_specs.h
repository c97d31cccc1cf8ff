// The inputs of a network, for which a dataset is opened.
#pragma once

#include <vector>

#include "bitfold/data.h"
#include "bitfold/graph.h"

namespace bitfold {

/// The inputs of a network. Inline, because readers of data do not depend on graphs.
inline std::vector<InputSpec> input_specs(const Graph& graph) {
  std::vector<InputSpec> specs;
  for (ValueId id : graph.inputs()) {
    const Value& input = graph.value(id);
    specs.push_back({.name = input.name,
                     .dtype = input.dtype,
                     .shape = input.shape.value_or(Shape{}),
                     .has_shape = input.shape.has_value(),
                     .item = input.items ? input.items->dtype : DataType::unknown});
  }
  return specs;
}

}  // namespace bitfold
