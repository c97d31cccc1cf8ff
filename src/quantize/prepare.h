// Changes to the float network before calibration. Internal to quantize/.
#pragma once

#include <functional>

#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// Equalizes according to `equalization`, which is not automatic. `table` is called if channel statistics are needed.
Preparation equalize(Graph& graph, Equalization equalization, const Recipe& recipe,
                     const std::function<ChannelTable()>& table);

}  // namespace bitfold::quantization
