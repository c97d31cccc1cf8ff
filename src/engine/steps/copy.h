// Moves elements without computing: layouts, Transpose, Slice, Concat, Split, Pad.
#pragma once

#include <cstdint>
#include <vector>

#include "bitfold/tensor.h"
#include "engine/step.h"
#include "ops/strided_copy.h"

namespace bitfold::engine {

/// destination[offset + sum(i_d * stride_d)] = source[offset + sum(i_d * stride_d)] for all i below `shape`. Offsets
/// and strides count elements; strides may be negative or, in the source only, 0.
struct Movement {
  Shape shape;
  std::vector<std::int64_t> source_strides, destination_strides;
  std::int64_t source_offset = 0, destination_offset = 0;
};

/// Fills the destination if requested, then performs one or more movements into it.
class CopyStep final : public Step {
 public:
  struct Fill {
    std::int64_t count = 0;     ///< Elements to fill; 0 means none.
    std::uint32_t pattern = 0;  ///< The element's bytes, lowest first.
  };
  /// `element_bytes` is 1, 2, 4 or 8. Add the destination as operand 0, then one source per movement.
  CopyStep(int element_bytes, const std::vector<Movement>& movements, Fill fill = {0, 0});

  void run(const Team& team) noexcept override;

 private:
  struct Copy {
    ops::StridedCopy elements;
    std::int64_t source_bytes = 0, destination_bytes = 0;  ///< Offsets.
  };

  int element_bytes_;
  std::vector<Copy> copies_;
  Fill fill_;
};

}  // namespace bitfold::engine
