// Nodes nobody reads, and the constants only they read.
#include "passes/rewrite.h"

namespace bitfold {

int eliminate_dead(Graph& graph) { return graph.remove_dead(); }

}  // namespace bitfold
