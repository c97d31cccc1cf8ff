// Parts of a network through which a factor per channel can be moved: what lies between linear layers and commutes with
// multiplying each channel by a positive number. Internal to passes/.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// Values that must share one factor per channel, and the layers at the region's edges.
struct Region {
  std::int64_t channels = 0;
  std::vector<ValueId> values;
  std::vector<NodeId> producers, consumers;  ///< Linear layers; one may be both of two different regions.
  std::optional<float> clips_at;             ///< The least magnitude at which a Clip inside may change a value.
};

/// All regions with linear layers at every edge, in the order of their first value. Shapes must be known along axis 1.
std::vector<Region> find_regions(const Graph& graph);

}  // namespace bitfold
