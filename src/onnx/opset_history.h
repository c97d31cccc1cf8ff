// The opsets in which operators of ONNX changed.
#pragma once

#include <cstdint>
#include <string_view>

namespace bitfold {

struct OpsetRange {
  std::int64_t first = 0, last = 0;
  bool operator==(const OpsetRange&) const = default;
};

/// The opsets in which a node of the default domain that was written for `opset` has the same meaning. For an operator
/// that ONNX does not have, `opset` alone.
OpsetRange opsets_of_same_meaning(std::string_view type, std::int64_t opset);

}  // namespace bitfold
