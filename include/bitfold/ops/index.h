// Operators that find elements, or read and write them by index.
#pragma once

#include <cstdint>
#include <optional>

namespace bitfold {

// Inputs in brackets are optional.

/// x, indices
struct Gather {
  std::int64_t axis = 0;
  bool operator==(const Gather&) const = default;
};
/// How an update combines with the element it changes; `none`: the update replaces it.
enum class ScatterReduction { none, add, mul, min, max };
/// data, indices [..., k], updates. Each row of indices is a position along data's first k axes.
struct ScatterNd {
  ScatterReduction reduction = ScatterReduction::none;
  bool operator==(const ScatterNd&) const = default;
};
/// data, indices: one index along `axis` for each output element
struct GatherElements {
  std::int64_t axis = 0;
  bool operator==(const GatherElements&) const = default;
};
/// data, indices [..., k]
struct GatherNd {
  std::int64_t batch_dims = 0;
  bool operator==(const GatherNd&) const = default;
};
/// data, indices, updates: one index along `axis` for each update
struct ScatterElements {
  std::int64_t axis = 0;
  ScatterReduction reduction = ScatterReduction::none;
  bool operator==(const ScatterElements&) const = default;
};
/// cache, update, [write indices [batch]]: writes the update into the cache along `axis`.
struct TensorScatter {
  std::int64_t axis = -2;
  bool circular = false;  ///< Positions past the end continue at the start.
  bool operator==(const TensorScatter&) const = default;
};
/// x, k -> values, indices
struct TopK {
  std::int64_t axis = -1;
  bool largest = true;
  bool sorted = true;
  bool operator==(const TopK&) const = default;
};
/// indices, depth, values [off, on]
struct OneHot {
  std::int64_t axis = -1;
  bool operator==(const OneHot&) const = default;
};
/// x -> indices [rank, count] of the elements that are not 0
struct NonZero {
  bool operator==(const NonZero&) const = default;
};
/// x -> values, [first indices], [inverse indices], [counts]
struct Unique {
  std::optional<std::int64_t> axis;  ///< Empty means the elements of the flattened tensor.
  bool sorted = true;
  bool operator==(const Unique&) const = default;
};
/// x, condition [up to the axis's size]
struct Compress {
  std::optional<std::int64_t> axis;  ///< Empty means the elements of the flattened tensor.
  bool operator==(const Compress&) const = default;
};
/// boxes [N,B,4], scores [N,C,B], [most boxes per class], [IoU threshold], [score threshold] -> [selected, 3]: batch,
/// class, box
struct NonMaxSuppression {
  bool center_point_box = false;  ///< Boxes are centre and size, not two corners.
  bool operator==(const NonMaxSuppression&) const = default;
};

}  // namespace bitfold
