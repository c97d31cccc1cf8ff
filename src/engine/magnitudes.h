// How large the reals of a network can become, so that NaN is not lost.
//
// oneDNN's fused Relu and Clip turn NaN into a number, where ONNX keeps it. A product of finite numbers makes NaN only
// where its sums leave float32. So it is fused with a Relu or Clip only where the magnitudes of its inputs are known to
// be small enough: by what the operators before it do, or because a step of the plan looks at the values. Where that
// step finds larger numbers, infinities or NaN, the session runs the inputs again with a plan that fuses neither.
#pragma once

#include <limits>
#include <map>

#include "bitfold/graph.h"

namespace bitfold::engine {

class Lowering;

class Magnitudes {
 public:
  /// The largest magnitude that a step that looks at a value accepts: far above the reals of working networks, and far
  /// enough below the largest float for some products in a row.
  static constexpr float kChecked = 1e15F;
  /// Sums of millions of numbers up to here are finite.
  static constexpr double kFinite = 1e30;
  static constexpr double kUnknown = std::numeric_limits<double>::infinity();

  explicit Magnitudes(const Lowering& lowering) : l_(lowering) {}

  /// The largest magnitude that the value can have; kUnknown where nothing is known.
  double of(ValueId id);
  /// The outputs of a Conv, Gemm or MatMul with constant weights whose inputs have that magnitude.
  double product(NodeId id, double input);
  /// From now on a step checks it.
  void set_checked(ValueId id) { known_[id] = kChecked; }

 private:
  double computed(ValueId id, NodeId producer);
  double of_operator(const Node& node, NodeId id);
  double largest_input(const Node& node);
  double sum_of_inputs(const Node& node);
  double constant(ValueId id);

  const Lowering& l_;
  std::map<ValueId, double> known_;
  int depth_ = 0;  ///< Recursion depth.
};

}  // namespace bitfold::engine
