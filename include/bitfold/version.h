#pragma once

namespace bitfold {
/// "0.1.0"
const char* version();
}  // namespace bitfold
