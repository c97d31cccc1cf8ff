// Operators on codes, and further elementwise functions.
#include "sweep/case.h"

namespace bitfold::testing {

std::vector<Case> code_cases() { return {}; }

}  // namespace bitfold::testing
