// Products of codes: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger.
#pragma once

#include <vector>

#include "ops/operator.h"

namespace bitfold::ops {

std::vector<OperatorInfo> code_product_operators();

}  // namespace bitfold::ops
