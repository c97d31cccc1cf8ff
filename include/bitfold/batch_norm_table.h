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

/// A channel's range is assumed to end this many standard deviations from its mean, because real values have longer
/// tails than a normal distribution (the same number as in section 5.2 of the paper below).
inline constexpr double kNormalTail = 6;

/// Distributions by value name. The output of a BatchNorm is modelled as normal with mean beta and standard deviation
/// |gamma| over the training data (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
/// Correction", section 4.2.1).
using BatchNormTable = std::map<std::string, ChannelNormals>;

/// Entries for every BatchNorm with constant parameters. `graph` must be as imported, because folding removes
/// BatchNorms.
BatchNormTable batch_norm_table(const Graph& graph);

/// High-bias absorption (Nagel et al. 2019, section 4.1.3). If nearly all of a channel lies above 0, its Relu (or Clip
/// from 0, far from its upper bound) has no effect, and the part below mean - 3 deviations (equation 15) can be moved
/// into the bias of the layer that reads it. The amount moved is limited to what lowers the upper end of the value's
/// grid. If no rectifier lies between the value and the layers and sums that read it, the whole mean is moved. Readers
/// must not pad with zeros. Returns the number of channels changed; the table's means are updated. `graph` satisfies
/// Stage::optimized.
std::size_t absorb_high_bias(Graph& graph, BatchNormTable& table);

}  // namespace bitfold
