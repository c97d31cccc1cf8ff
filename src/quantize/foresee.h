// Predicts the distributions of a network's values without data.
#pragma once

#include <map>

#include "bitfold/data_free.h"

namespace bitfold::quantization {

/// Distributions by value. A tensor of shape [kForeseen][channels], with further axes of length 1 up to the value's
/// rank, holds equally likely numbers for each channel, independent between channels. A value whose channels were mixed
/// has one channel.
using Foreseen = std::map<ValueId, Tensor>;
inline constexpr std::int64_t kForeseen = 1024;

/// Predicts every float value: graph inputs and computed values. Throws Error naming a node whose output cannot be
/// predicted.
Foreseen foresee(const Graph& graph, const BatchNormTable& table, const InputRange& range);

bool is_finite(const Tensor& foreseen);
/// The statistics of values; those that are infinite or NaN are left out.
Calibration calibration_of(const Graph& graph, const Foreseen& values);
ChannelTable channel_table_of(const Graph& graph, const Foreseen& values);
/// The means of a value's channels.
std::vector<double> channel_means(const Tensor& foreseen);

}  // namespace bitfold::quantization
