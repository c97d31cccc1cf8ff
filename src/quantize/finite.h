// What is refused of a value that is not kept statistics of.
#pragma once

#include <span>

namespace bitfold::quantization {

/// Throws Error on NaN or infinity, naming the index, as ValueStatistics::add does.
void check_finite(std::span<const float> values);

}  // namespace bitfold::quantization
