// What BatchNorms know of the values they were trained on, and what can be done with it before quantizing.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// A normal distribution in each channel (axis 1).
struct ChannelNormals {
  std::vector<double> mean, deviation;
};

/// Deviations from the mean at which the outermost numbers of a channel are taken to lie: real values have longer tails
/// than normal ones (section 5.2 of the paper below takes as many).
inline constexpr double kNormalTail = 6;

/// By value name. Outputs of BatchNorms are normal with mean beta and standard deviation |gamma|, over what the network
/// was trained on (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
/// section 4.2.1).
using BatchNormTable = std::map<std::string, ChannelNormals>;

/// Of every BatchNorm with constant parameters. `graph` is as it was imported: folding removes what they know.
BatchNormTable batch_norm_table(const Graph& graph);

/// High-bias absorption (Nagel et al. 2019, section 4.1.3): where nearly all of a channel lies above 0, its Relu (or
/// Clip from 0, far from its upper bound) does nothing, and what lies below mean - 3 deviations of it (equation 15) can
/// be moved into the bias of the layer that reads it; done as far as it lowers the upper end of the values' grid. Of
/// values that only layers and sums of such values read, no rectifier in between, the whole mean is moved. Readers must
/// not pad with zeros. Returns how many channels; the table's means are moved with them. `graph` satisfies
/// Stage::optimized.
std::size_t absorb_high_bias(Graph& graph, BatchNormTable& table);

}  // namespace bitfold
