// Operators on boxes: NonMaxSuppression, RoiAlign, MaxRoiPool.
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> box_operators() { return {}; }

}  // namespace bitfold::ops
