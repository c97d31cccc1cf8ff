// What a recipe does to a float network before its ranges are known. Internal to quantize/.
#pragma once

#include <functional>

#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// As `equalization`, which is not automatic, says; `table` is asked for what channels hold if that matters.
Preparation equalize(Graph& graph, Equalization equalization, const Recipe& recipe,
                     const std::function<ChannelTable()>& table);

}  // namespace bitfold::quantization
