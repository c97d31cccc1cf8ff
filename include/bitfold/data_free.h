// Quantizing without data: distributions of values are predicted from BatchNorms (docs/internals/data_free.md).
#pragma once

#include "bitfold/batch_norm_table.h"
#include "bitfold/graph.h"
#include "bitfold/quantize.h"

namespace bitfold {

/// The first half of quantize() without samples, with a given table: equalizes (Equalization::automatic stands for
/// noise), absorbs high biases, and predicts the distribution of every value. Observer::min_max is the default because
/// real values have longer tails than normal ones. `graph` satisfies Stage::optimized, and its value names must match
/// the table's. Throws Error naming the node whose output cannot be predicted, the input whose number of channels
/// differs from the range's, or the recipe field that needs samples.
CalibratedNetwork calibrate_without_data(const Graph& graph, const BatchNormTable& table, const InputRange& range = {},
                                         const Recipe& recipe = {});

}  // namespace bitfold
