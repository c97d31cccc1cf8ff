// The rows of the operator table that find where an extreme is: ArgMax, ArgMin and Hardmax.
#pragma once

#include <vector>

#include "ops/operator.h"

namespace bitfold::ops {

std::vector<OperatorInfo> arg_reduce_operators();

}  // namespace bitfold::ops
