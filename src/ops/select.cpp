// Operators that find elements: TopK, OneHot, NonZero, Unique, Compress.
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> select_operators() { return {}; }

}  // namespace bitfold::ops
