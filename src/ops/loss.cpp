// Losses: NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss.
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> loss_operators() { return {}; }

}  // namespace bitfold::ops
