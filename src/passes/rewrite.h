// Graph edits that the passes share. Internal to passes/.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bitfold/graph.h"
#include "graph/activation.h"
#include "graph/linear_layer.h"

namespace bitfold {

// The passes, one per file; each returns the number of places it changed.
int fold_constants(Graph& graph);
int remove_identity(Graph& graph);
int expand_einsum(Graph& graph);
int fold_invariants(Graph& graph);
int merge_activations(Graph& graph);
int merge_layer_norm(Graph& graph);
int fold_scale(Graph& graph);
int fold_batch_norm(Graph& graph);
int eliminate_dead(Graph& graph);

/// Redirects every reader of the node's only output to `source` and removes the node. Returns false and changes nothing
/// if that would rename a graph input or constant, merge two graph outputs, or change a grid.
bool bypass(Graph& graph, NodeId id, ValueId source);

/// Sets input `slot` of a node to a constant holding `tensor`. The current constant is changed in place if it has no
/// other reader. Otherwise, or if there is none, a new constant is named after `stem`.
void set_constant_input(Graph& graph, NodeId id, std::size_t slot, Tensor tensor, std::string_view stem);

/// y := scale[c] * y + shift[c], through the layer's weight and bias, computed in double. Spans have one entry per
/// channel. A MatMul that gets a bias becomes a Gemm.
void scale_and_shift(Graph& graph, const LinearLayer& layer, std::span<const double> scale,
                     std::span<const double> shift);

/// Removes `id`, the only reader of `producer`'s output; `producer` then computes the output value of `id`.
void absorb_into(Graph& graph, NodeId producer, NodeId id);

}  // namespace bitfold
