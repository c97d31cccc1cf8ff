// The row of Col2Im, which is one of arrange_operators().
#pragma once

#include "ops/operator.h"

namespace bitfold::ops {

OperatorInfo col2im_operator();

}  // namespace bitfold::ops
