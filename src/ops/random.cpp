// Random numbers: RandomNormal, Bernoulli, Multinomial, ....
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> random_operators() { return {}; }

}  // namespace bitfold::ops
