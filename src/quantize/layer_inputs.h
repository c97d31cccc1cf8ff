// Second moments of a layer's inputs over sample data.
#pragma once

#include <vector>

#include "quantize/hessian_rounding.h"
#include "quantize/layer_rows.h"
#include "quantize/paired_runs.h"

namespace bitfold::quantization {

/// Moments of the inputs of product `id`, by group, over the samples of `runs`. They do not depend on the number of
/// threads, because sums are computed in the order of samples. `keeps_rows` also keeps the rows, fewer if they would
/// take more than 256 MiB.
std::vector<InputMoments> input_moments(PairedRuns& runs, NodeId id, bool keeps_rows = false);

}  // namespace bitfold::quantization
