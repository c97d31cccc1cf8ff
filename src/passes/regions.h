// Parts of a network through which a factor per channel can move: values between linear layers, connected by operators
// that commute with positive factors per channel. Internal to passes/.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold {

/// Values that share one factor per channel, and the layers that write and read them.
struct Region {
  std::int64_t channels = 0;
  std::vector<ValueId> values;
  /// Linear layers; a layer may be the consumer of one region and the producer of another.
  std::vector<NodeId> producers, consumers;
  /// The smallest magnitude that a Clip inside the region may change; none without a Clip.
  std::optional<float> clips_at;
};

/// All regions bounded by linear layers, in the order of their first value. Shapes must be known along axis 1.
std::vector<Region> find_regions(const Graph& graph);

}  // namespace bitfold
