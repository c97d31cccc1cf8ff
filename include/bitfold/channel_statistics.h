// Measuring what each channel of a network's values looks like.
#pragma once

#include <string>
#include <vector>

#include "bitfold/batch.h"
#include "bitfold/equalize.h"

namespace bitfold {

/// Of every float value of at least two axes whose number of channels does not change, over the source's first
/// `most_samples`. The result does not depend on the number of threads. Throws Error when there are no samples.
ChannelTable measure_channels(const Graph& graph, BatchSource& source, std::int64_t most_samples = 128,
                              const Progress& progress = {});

/// Of the named values, which must be float32 of one last dimension; otherwise as measure_channels().
FeatureMaxima measure_features(const Graph& graph, const std::vector<std::string>& values, BatchSource& source,
                               std::int64_t most_samples = 128, const Progress& progress = {});

}  // namespace bitfold
