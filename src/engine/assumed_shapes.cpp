#include "engine/assumed_shapes.h"

#include <algorithm>
#include <array>

namespace bitfold::engine {
namespace {

struct Assumption {
  std::int64_t batch, size;  ///< For an open first size, and for all others.
};

/// 128 is a usual number of tokens, and networks that halve images five times accept it. 1 fits states that are passed
/// from run to run. A first axis that is a length instead of a batch needs more than 1.
constexpr std::array kAssumptions{Assumption{1, 128}, Assumption{1, 32}, Assumption{1, 1}, Assumption{128, 128}};

}  // namespace

Shape with_size(Shape shape, std::int64_t size) {
  std::ranges::replace(shape, kDynamic, size);
  return shape;
}

std::vector<std::vector<Shape>> assumed_input_shapes(const Graph& graph) {
  std::vector<std::vector<Shape>> candidates;
  for (const Assumption& assumption : kAssumptions) {
    std::vector<Shape> shapes;
    for (const ValueId id : graph.inputs()) {
      if (!graph.value(id).shape) return {};
      Shape shape = *graph.value(id).shape;
      if (!shape.empty() && shape[0] == kDynamic) shape[0] = assumption.batch;
      shapes.push_back(with_size(std::move(shape), assumption.size));
    }
    if (std::ranges::find(candidates, shapes) == candidates.end()) candidates.push_back(std::move(shapes));
  }
  return candidates;
}

}  // namespace bitfold::engine
