// Measures statistics of each channel of a network's values.
#pragma once

#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/equalize.h"
#include "bitfold/progress.h"

namespace bitfold {

/// Statistics of every float value that has at least two axes and a constant number of channels, over the source's
/// first `max_samples`. They do not depend on the number of threads. Throws Error when there are no samples.
ChannelTable measure_channels(const Graph& graph, BatchSource& source, std::int64_t max_samples = 128,
                              const Progress& progress = {});

/// Maxima of the named values along their last axis. The values must be float32 with a constant last dimension.
/// Samples, threads and errors are as in measure_channels().
FeatureMaxima measure_features(const Graph& graph, const std::vector<std::string>& values, BatchSource& source,
                               std::int64_t max_samples = 128, const Progress& progress = {});

}  // namespace bitfold
