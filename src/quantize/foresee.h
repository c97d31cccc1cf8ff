// What a network's values hold, foreseen without data.
#pragma once

#include <map>

#include "bitfold/data_free.h"

namespace bitfold::quantization {

/// Equally likely numbers of each channel, independent of those of other channels: [kForeseen][channels], and as many
/// axes of length 1 as the value has more. A value whose channels are no longer apart has one.
using Foreseen = std::map<ValueId, Tensor>;
inline constexpr std::int64_t kForeseen = 1024;

/// Of every float value that is computed or fed. Throws Error naming a node that is not understood.
Foreseen foresee(const Graph& graph, const BatchNormTable& table, const InputRange& range);

Calibration calibration_of(const Graph& graph, const Foreseen& values);
ChannelTable channel_table_of(const Graph& graph, const Foreseen& values);
/// The means of a value's channels.
std::vector<double> channel_means(const Tensor& foreseen);

}  // namespace bitfold::quantization
