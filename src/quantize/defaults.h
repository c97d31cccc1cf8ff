// Defaults and messages that the pipeline and its parts share.
#pragma once

#include <string>

#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// The observer of a recipe that names none.
Observer default_observer(const Graph& graph, bool is_without_data);

/// A message that names the recipe's fields that need samples, such as "rounding 'gptq' needs sample inputs".
std::string samples_missing(const Recipe& recipe);

}  // namespace bitfold::quantization
