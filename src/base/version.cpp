#include "bitfold/version.h"

namespace bitfold {
const char* version() { return BITFOLD_VERSION; }
}  // namespace bitfold
