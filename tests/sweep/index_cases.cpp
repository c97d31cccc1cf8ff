// Operators that find, sample or rearrange elements.
#include "sweep/case.h"

namespace bitfold::testing {

std::vector<Case> index_cases() { return {}; }

}  // namespace bitfold::testing
