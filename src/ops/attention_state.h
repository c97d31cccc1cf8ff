// LinearAttention and CausalConvWithState, the part of the attention family that carries a state from call to call.
#pragma once

#include <vector>

#include "ops/operator.h"

namespace bitfold::ops {

std::vector<OperatorInfo> state_operators();

}  // namespace bitfold::ops
