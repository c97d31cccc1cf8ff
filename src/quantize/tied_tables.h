// Tables of embeddings that are also the weights of a product, as of a language model's last layer.
#pragma once

#include <map>
#include <span>
#include <string>

#include "bitfold/graph.h"
#include "quantize/planner.h"

namespace bitfold::quantization {

/// Makes each Gather whose table holds the weights of a product in 8 bits, or their transpose, read the codes of these
/// weights, so that the table is not stored in float as well. Ids are the same in both graphs; the products of `graph`
/// are quantized. Nodes named in `in_float` stay as they are. Returns the products by Gather.
std::map<NodeId, NodeId> share_tables(const Graph& float_graph, Graph& graph, const Plan& plan,
                                      std::span<const std::string> in_float);

}  // namespace bitfold::quantization
