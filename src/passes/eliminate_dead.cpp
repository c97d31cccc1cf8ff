// Removes nodes whose outputs are not used, and constants that only they read.
#include "passes/rewrite.h"

namespace bitfold {

int eliminate_dead(Graph& graph) { return graph.remove_dead(); }

}  // namespace bitfold
