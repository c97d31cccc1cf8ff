// Operators on sequences and optionals.
#pragma once

#include <cstdint>
#include <optional>

#include "bitfold/tensor.h"

namespace bitfold {

// Inputs in brackets are optional.

struct SequenceEmpty {
  DataType dtype = DataType::float32;  ///< The type of its tensors.
  bool operator==(const SequenceEmpty&) const = default;
};
/// tensors...
struct SequenceConstruct {
  bool operator==(const SequenceConstruct&) const = default;
};
/// sequence, tensor, [position]: at the end without a position.
struct SequenceInsert {
  bool operator==(const SequenceInsert&) const = default;
};
/// sequence, [position]: the last one without a position.
struct SequenceErase {
  bool operator==(const SequenceErase&) const = default;
};
/// sequence, position
struct SequenceAt {
  bool operator==(const SequenceAt&) const = default;
};
struct SequenceLength {
  bool operator==(const SequenceLength&) const = default;
};
/// x, [split]: a scalar is the size of each part, a vector has the size of every part; parts of size 1 without it.
struct SplitToSequence {
  std::int64_t axis = 0;
  bool keepdims = true;  ///< Only without a split: whether the parts keep the axis.
  bool operator==(const SplitToSequence&) const = default;
};
struct ConcatFromSequence {
  std::int64_t axis = 0;
  bool new_axis = false;
  bool operator==(const ConcatFromSequence&) const = default;
};
/// ONNX's Optional: [value]
struct MakeOptional {
  /// The type of an empty one, in two parts: optional or optional_sequence, and the type of its tensors. Absent if
  /// there is a value.
  std::optional<DataType> kind, item;
  bool operator==(const MakeOptional&) const = default;
};
/// [value], of any type: a tensor or a sequence is an element itself.
struct OptionalHasElement {
  bool operator==(const OptionalHasElement&) const = default;
};
struct OptionalGetElement {
  bool operator==(const OptionalGetElement&) const = default;
};

}  // namespace bitfold
