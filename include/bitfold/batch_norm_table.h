// Distributions of values recorded in BatchNorms during training, and their use before quantization.
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

/// The outermost numbers of a channel lie this many deviations from the mean, because real values have longer tails
/// than normal ones (the same number as in section 5.2 of the paper below).
inline constexpr double kNormalTail = 6;

/// By value name. The output of a BatchNorm is modelled as normal with mean beta and standard deviation |gamma| over
/// the training data (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
/// section 4.2.1).
using BatchNormTable = std::map<std::string, ChannelNormals>;

/// Entries for every BatchNorm with constant parameters. `graph` must be as imported, because folding removes
/// BatchNorms.
BatchNormTable batch_norm_table(const Graph& graph);

/// High-bias absorption (Nagel et al. 2019, section 4.1.3). If nearly all of a channel lies above 0, its Relu (or Clip
/// from 0, far from its upper bound) has no effect, and the part below mean - 3 deviations (equation 15) can be moved
/// into the bias of the layer that reads it. This is done as far as it lowers the upper end of the values' grid. For
/// values that only layers and sums of such values read, without a rectifier in between, the whole mean is moved.
/// Readers must not pad with zeros. Returns the number of channels changed; the table's means are updated. `graph`
/// satisfies Stage::optimized.
std::size_t absorb_high_bias(Graph& graph, BatchNormTable& table);

}  // namespace bitfold
