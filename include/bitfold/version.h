#pragma once

namespace bitfold {
/// The version of the library: "0.1.0".
const char* version();
}  // namespace bitfold
