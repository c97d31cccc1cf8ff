// The row of DeformConv, which is one of sample_operators().
#pragma once

#include "ops/operator.h"

namespace bitfold::ops {

OperatorInfo deform_conv_operator();

}  // namespace bitfold::ops
