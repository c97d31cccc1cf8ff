// Operators on codes: QuantizeLinear, DequantizeLinear, ConvInteger, ....
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> code_operators() { return {}; }

}  // namespace bitfold::ops
