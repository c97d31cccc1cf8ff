// Operators that read or write single elements by index: GatherElements, GatherND, ScatterElements, TensorScatter.
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> scatter_operators() { return {}; }

}  // namespace bitfold::ops
