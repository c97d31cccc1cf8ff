// Recurrent layers: RNN, GRU, LSTM.
#include "ops/operator.h"
#include "ops/rows.h"

namespace bitfold::ops {

std::vector<OperatorInfo> recurrent_operators() { return {}; }

}  // namespace bitfold::ops
