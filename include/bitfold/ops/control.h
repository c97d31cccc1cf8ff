// Operators with bodies.
#pragma once

#include <cstdint>

namespace bitfold {

// Inputs in brackets are optional.

/// condition, captured values...; bodies: then, else. Each body reads the captured values, in the node's order.
struct If {
  bool operator==(const If&) const = default;
};
/// [trip count], [condition], carried values..., captured values... -> carried values, scan outputs. The body reads
/// iteration, condition, carried values, captured values; it gives condition, carried values, scan outputs.
struct Loop {
  std::int64_t captured = 0;  ///< How many of the last inputs are captured values.
  bool operator==(const Loop&) const = default;
};
/// States..., scan inputs..., captured values... -> states, scan outputs. The body reads states, one slice of each scan
/// input, captured values; it gives states and one slice of each scan output.
struct Scan {
  std::int64_t scan_inputs = 1;
  std::int64_t captured = 0;  ///< How many of the last inputs are captured values.
  /// Per scan input or output; empty means axis 0, forward.
  std::vector<std::int64_t> input_axes, input_directions, output_axes, output_directions;
  bool operator==(const Scan&) const = default;
};

}  // namespace bitfold
