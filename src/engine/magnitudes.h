// Bounds of the magnitudes of reals in a network, so that NaN is not lost.
//
// oneDNN's fused Relu and Clip turn NaN into a number, while ONNX keeps it. A product of finite numbers gives NaN only
// if its sums exceed float32. So it is fused with a Relu or Clip only if the magnitudes of its inputs are known to be
// small enough, either from the operators before it or because a step of the plan checks the values. If that step finds
// larger numbers, infinities or NaN, the session runs the inputs again with a plan that fuses neither.
#pragma once

#include <limits>
#include <map>

#include "bitfold/graph.h"
#include "ops/bounds.h"

namespace bitfold::engine {

class Lowering;

class Magnitudes {
 public:
  /// The largest magnitude that a checking step accepts. It is far above the reals of working networks, and so far
  /// below the largest float that several products in a row stay finite.
  static constexpr float kChecked = 1e15F;
  /// Sums of millions of numbers up to this bound are finite.
  static constexpr double kFinite = 1e30;
  static constexpr double kUnknown = std::numeric_limits<double>::infinity();

  explicit Magnitudes(const Lowering& lowering) : l_(lowering) {}

  /// The largest magnitude that the value can have; kUnknown if there is no bound.
  double of(ValueId id) { return bounds(id).magnitude(); }
  /// The largest magnitude of the outputs of a product with constant weights and inputs up to `input`.
  double product(NodeId id, double input);
  /// Records that a step checks the value.
  void set_checked(ValueId id) { known_[id] = ops::RealBounds::up_to(kChecked); }

 private:
  ops::RealBounds bounds(ValueId id);
  ops::RealBounds computed(ValueId id, NodeId producer);
  ops::RealBounds of_operator(const Node& node, NodeId id);
  double constant(ValueId id);

  const Lowering& l_;
  std::map<ValueId, ops::RealBounds> known_;
  int depth_ = 0;  ///< Recursion depth.
};

}  // namespace bitfold::engine
