// Runs one operator on given tensors through Reference and compares with literal numbers, which were computed by hand
// or by ONNX Runtime 1.32.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/error.h"
#include "bitfold/reference.h"
#include "error_testing.h"

namespace bitfold::testing {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline Tensor floats(Shape shape, const std::vector<float>& values) {
  return Tensor::from<float>(std::move(shape), values);
}
inline Tensor int64s(Shape shape, const std::vector<std::int64_t>& values) {
  return Tensor::from<std::int64_t>(std::move(shape), values);
}
inline Tensor int64s(const std::vector<std::int64_t>& values) {
  return int64s({static_cast<std::int64_t>(values.size())}, values);
}
inline Tensor booleans(Shape shape, const std::vector<int>& values) {
  Tensor t(DataType::boolean, std::move(shape));
  for (std::size_t i = 0; i < values.size(); ++i) t.mutable_data<bool>()[i] = values[i] != 0;
  return t;
}
/// 1, 2, 3, ...
inline Tensor iota(Shape shape) {
  Tensor t(DataType::float32, std::move(shape));
  float next = 1;
  for (float& x : t.mutable_data<float>()) x = next++;
  return t;
}

/// An absent optional input is nullopt.
using Inputs = std::vector<std::optional<Tensor>>;

inline std::vector<Tensor> run_op(Op op, const Inputs& inputs, int output_count = 1,
                                  ReferenceOptions options = {true, {}}) {
  Graph graph;
  Node node{.name = "n", .op = std::move(op)};
  std::vector<Tensor> given;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i]) given.push_back(*inputs[i]);
    node.inputs.push_back(inputs[i] ? graph.add_input(fmt::format("i{}", i), inputs[i]->dtype(), inputs[i]->shape())
                                    : ValueId::none);
  }
  for (int i = 0; i < output_count; ++i) node.outputs.push_back(graph.add_value({.name = fmt::format("o{}", i)}));
  graph.add_node(node);
  for (ValueId id : node.outputs) graph.mark_output(id);
  return Reference(graph, std::move(options)).run(given);
}

/// The message of the Error that the operator throws, or "no error".
inline std::string op_message(const Op& op, const Inputs& inputs, int output_count = 1) {
  return message_of([&] { run_op(op, inputs, output_count); });
}

/// Expects the operator to throw an Error whose message contains `part`.
inline void expect_op_error(const Op& op, const Inputs& inputs, const std::string& part) {
  expect_error([&] { run_op(op, inputs); }, part);
}

/// Expects floats to differ by at most 1e-6, relative for magnitudes above 1 and absolute below, and other types to be
/// equal.
inline void expect_equal(const Tensor& actual, const Tensor& expected) {
  ASSERT_EQ(actual.dtype(), expected.dtype());
  ASSERT_EQ(to_string(actual.shape()), to_string(expected.shape()));
  if (actual.dtype() != DataType::float32) {
    EXPECT_TRUE(actual == expected);
    return;
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(actual.size()); ++i) {
    const float a = actual.data<float>()[i], e = expected.data<float>()[i];
    if (std::isnan(e) || std::isinf(e)) {
      EXPECT_TRUE(a == e || (std::isnan(a) && std::isnan(e))) << "element " << i << ": " << a << ", expected " << e;
    } else {
      EXPECT_NEAR(a, e, 1e-6 * std::max(1.0F, std::abs(e))) << "element " << i;
    }
  }
}

inline void expect_op(Op op, const Inputs& inputs, const Tensor& expected) {
  SCOPED_TRACE(op_name(op));
  expect_equal(run_op(std::move(op), inputs)[0], expected);
}

inline Window window(std::vector<std::int64_t> kernel, std::vector<std::int64_t> strides = {},
                     std::vector<std::int64_t> dilations = {}, std::vector<std::int64_t> pads = {},
                     AutoPad auto_pad = AutoPad::none) {
  const std::size_t n = kernel.size();
  if (strides.empty()) strides.assign(n, 1);
  if (dilations.empty()) dilations.assign(n, 1);
  if (pads.empty()) pads.assign(2 * n, 0);
  return {std::move(kernel), std::move(strides), std::move(dilations), std::move(pads), auto_pad};
}

}  // namespace bitfold::testing
