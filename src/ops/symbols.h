// The operators that map or count symbols, which are strings or integers.
#pragma once

#include <vector>

#include "ops/operator.h"

namespace bitfold::ops {

std::vector<OperatorInfo> symbol_operators();  ///< LabelEncoder, TfIdfVectorizer

}  // namespace bitfold::ops
