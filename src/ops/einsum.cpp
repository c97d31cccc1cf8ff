// Products named by an equation: Einsum, Det.
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> einsum_operators() { return {}; }

}  // namespace bitfold::ops
