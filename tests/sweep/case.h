// One small network of a single operator, in a form from which every type of every input can be made.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bitfold/graph.h"
#include "ops/operator.h"

namespace bitfold::testing {

/// The value of one input of the operator.
struct Operand {
  Shape shape;
  /// Random elements are in [low, high]; for integers, those whole numbers in this range that their type can hold.
  double low = -4, high = 4;
  bool is_whole = false;     ///< Whether reals are whole numbers too, so that some elements are equal.
  bool is_nonzero = false;   ///< Whether integers must not be 0.
  bool is_constant = false;  ///< Whether it is an initializer instead of a network input.
  bool is_absent = false;
  std::optional<Tensor> fixed;    ///< These elements instead of random ones, always as a constant.
  std::vector<Shape> items = {};  ///< The shapes of the tensors in a sequence; if empty, two of `shape`.
};

struct Case {
  Op op;
  std::vector<Operand> inputs;
  int outputs = 1;
  /// The number of terms that one output element sums, and the largest absolute value of a term.
  double terms = 1, term = 1;
  /// The types of data inputs, if an attribute allows fewer than the row accepts.
  std::optional<ops::TypeSet> types;
  /// Makes the bodies of If, Loop and Scan, with values of the given type.
  std::function<std::vector<std::shared_ptr<const Graph>>(DataType)> bodies = nullptr;
};

inline Operand data(Shape shape, double low = -4, double high = 4) {
  return {.shape = std::move(shape), .low = low, .high = high};
}
inline Operand constant(Shape shape, double low = -1, double high = 1) {
  return {.shape = std::move(shape), .low = low, .high = high, .is_constant = true};
}
inline Operand fixed(Tensor tensor) {
  Operand operand{.shape = tensor.shape(), .is_constant = true};
  operand.fixed = std::move(tensor);
  return operand;
}
/// A constant vector of int64, such as axes or a shape.
inline Operand vector(const std::vector<std::int64_t>& values) {
  return fixed(Tensor::from({static_cast<std::int64_t>(values.size())}, values));
}
inline Operand number(std::int64_t value) {
  return fixed(Tensor::from<std::int64_t>({}, std::vector<std::int64_t>{value}));
}
inline Operand sequence_of(std::vector<Shape> items) { return {.items = std::move(items)}; }
inline Operand absent() { return {.is_absent = true}; }

/// All cases: at least one for every row of the operator table that can be run.
std::vector<Case> all_cases();

// The families, each in its own file.
std::vector<Case> layer_cases();     ///< Convolutions, matrix products, normalizations, pools.
std::vector<Case> element_cases();   ///< Elementwise operators and reductions.
std::vector<Case> layout_cases();    ///< Operators that move elements or make tensors.
std::vector<Case> control_cases();   ///< If, Loop, Scan.
std::vector<Case> index_cases();     ///< Operators that find, sample or rearrange elements.
std::vector<Case> sequence_cases();  ///< Recurrent layers, attention, spectra, random numbers, losses.
std::vector<Case> code_cases();      ///< Operators on codes, and further elementwise functions.
std::vector<Case> object_cases();    ///< Operators on sequences, optionals and strings.

}  // namespace bitfold::testing
