// Quantizing with foreseen means. Internal to quantize/.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bitfold/quantize.h"

namespace bitfold::quantization {

/// The mean of each channel (axis 1), by value name.
using ChannelMeans = std::map<std::string, std::vector<double>>;

/// As bitfold::quantize(); each layer's mean error for inputs with these means is taken off its bias, unless the recipe
/// says not to (BiasCorrection::automatic is analytic here).
QuantizeResult quantize_with_means(const Graph& graph, const Calibration& calibration, const Recipe& recipe,
                                   const ChannelMeans& means);

}  // namespace bitfold::quantization
