// Small float networks for the tests of quantize/, and functions that look up grids and decisions in the result.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bitfold/error.h"
#include "bitfold/quantize.h"
#include "numeric/random_tensor.h"

namespace bitfold::testing {

inline Window window(std::int64_t size) {
  return {.kernel = {size, size}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}};
}

// Small networks over images of 4 channels, 8 x 8, and a calibration in which every value lies in [-2, 3] unless seen()
// changes it. A node's output is named after it.
class Net {
 public:
  Graph graph;
  Calibration calibration;

  ValueId input(const std::string& name) { return graph.add_input(name, DataType::float32, {1, 4, 8, 8}); }
  ValueId constant(const std::string& name, Tensor tensor) { return graph.add_constant(name, std::move(tensor)); }
  ValueId conv(const std::string& name, ValueId in) {
    const ValueId w = constant(name + ".w", random_tensor({4, 4, 1, 1}, 1, 0.1F));
    const ValueId b = constant(name + ".b", random_tensor({4}, 2, 0.1F));
    return graph.add(Conv{.window = window(1)}, name + "_node", {in, w, b}, name);
  }
  ValueId gemm(const std::string& name, ValueId in, std::int64_t depth, Gemm op = {.trans_b = true}) {
    const ValueId w = constant(name + ".w", random_tensor(op.trans_b ? Shape{3, depth} : Shape{depth, 3}, 3, 0.1F));
    const ValueId b = constant(name + ".b", random_tensor({3}, 4, 0.1F));
    return graph.add(op, name + "_node", {in, w, b}, name);
  }
  ValueId unary(UnaryKind kind, const std::string& name, ValueId in) {
    return graph.add(Unary{kind}, name + "_node", {in}, name);
  }
  ValueId relu(const std::string& name, ValueId in) { return unary(UnaryKind::relu, name, in); }
  ValueId clip(const std::string& name, ValueId in, float lower, float upper) {
    const ValueId lo = constant(name + ".lo", Tensor::from<float>({}, std::vector{lower}));
    const ValueId hi = constant(name + ".hi", Tensor::from<float>({}, std::vector{upper}));
    return graph.add(Clip{}, name + "_node", {in, lo, hi}, name);
  }
  ValueId max_pool(const std::string& name, ValueId in) {
    return graph.add(Pool{PoolKind::max, window(2)}, name + "_node", {in}, name);
  }
  ValueId add(const std::string& name, ValueId a, ValueId b) {
    return graph.add(Binary{BinaryKind::add}, name + "_node", {a, b}, name);
  }

  void seen(const std::string& name, float min, float max) {
    calibration.values[name] = {};
    calibration.values[name].add(std::vector<float>{min, max});
  }
  QuantizeResult quantize(const Recipe& recipe = {}) {
    infer_shapes(graph);
    for (ValueId id : graph.values())
      if (!graph.is_constant(id) && !calibration.values.contains(graph.value(id).name))
        seen(graph.value(id).name, -2, 3);
    return bitfold::quantize(graph, calibration, recipe);
  }
};

inline const std::optional<QuantParams>& grid(const Graph& graph, const std::string& name) {
  const ValueId id = graph.find(name);
  EXPECT_NE(id, ValueId::none) << name;
  return graph.value(id).quant;
}

inline LayerDecision decision(const QuantizeResult& result, const std::string& node) {
  for (const auto& d : result.decisions)
    if (d.node == node) return d;
  ADD_FAILURE() << "no decision on " << node;
  return {};
}

inline std::vector<std::string> op_names(const Graph& graph) {
  std::vector<std::string> names;
  for (NodeId id : graph.topological_order()) names.push_back(op_name(graph.node(id).op));
  return names;
}

using Names = std::vector<std::string>;
inline constexpr GridSpec kUnsigned8{.bits = 8, .is_signed = false, .scheme = Scheme::asymmetric};

template <class Function>
std::string complaint(const Function& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

}  // namespace bitfold::testing
