// The work of one run: shapes for one sample, and multiply-accumulates.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold::report {

/// infer_values() for one sample. Without `inputs`, an open batch counts as 1. An open height or width stays open,
/// because a window may not fit a size of 1.
std::vector<ValueInfo> infer_one_sample(const Graph& graph, std::span<const Shape> inputs);

/// Multiply-accumulates of one run; none if they depend on an open size.
std::optional<std::int64_t> mac_count(const Node& node, const std::vector<ValueInfo>& infos);

}  // namespace bitfold::report
