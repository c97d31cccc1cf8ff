// Stores equal constants once.
#pragma once

#include "bitfold/graph.h"

namespace bitfold {

/// Makes all readers of equal constants (type, shape, elements and grid) read the first of them. Constants below 256
/// bytes, graph inputs and graph outputs stay as they are. Returns the number of constants that lost their readers.
int merge_constants(Graph& graph);

}  // namespace bitfold
