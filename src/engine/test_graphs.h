// Small graphs with grids, for the engine's tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bitfold/affine.h"
#include "bitfold/graph.h"

namespace bitfold::engine {

inline QuantParams unsigned_grid(float scale, int zero_point, int bits = 8) {
  return {.scale = {scale}, .zero_point = {zero_point}, .bits = bits};
}
inline QuantParams signed_grid(float scale, int zero_point, int bits = 8) {
  return {.scale = {scale}, .zero_point = {zero_point}, .bits = bits, .is_signed = true};
}

/// Builds a graph one node at a time; every random number comes from one seed.
class GraphBuilder {
 public:
  Graph graph;
  std::mt19937 random{11};

  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); }
  Tensor uniform_tensor(Shape shape, float low, float high) {
    Tensor t(DataType::float32, std::move(shape));
    for (float& v : t.mutable_data<float>()) v = uniform(low, high);
    return t;
  }

  ValueId input(Shape shape, std::optional<QuantParams> grid) {
    const ValueId id = graph.add_input(graph.unique_name("x"), DataType::float32, std::move(shape));
    graph.value(id).quant = std::move(grid);
    return id;
  }
  ValueId integers(const std::vector<std::int64_t>& values) {
    return graph.add_constant(graph.unique_name("integers"),
                              Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
  }
  ValueId scalar(float value) {
    return graph.add_constant(graph.unique_name("scalar"), Tensor::from<float>({}, std::vector<float>{value}));
  }
  /// Adds a node with one output, on `grid` where given.
  ValueId node(Op op, std::vector<ValueId> inputs, std::optional<QuantParams> grid = std::nullopt) {
    const std::string name = graph.unique_name(op_name(op));
    const ValueId id = graph.add(std::move(op), name + "_node", std::move(inputs), name);
    graph.value(id).quant = std::move(grid);
    return id;
  }
  void output(ValueId id) { graph.mark_output(id); }

  /// Symmetric int8 weights of `bits` bits with a scale per index of `axis` (or one when axis is -1).
  ValueId weights(Shape shape, int axis, int bits = 8) {
    const std::int64_t channels = axis < 0 ? 1 : shape[static_cast<std::size_t>(axis)];
    QuantParams grid{.bits = bits, .is_signed = true, .narrow = true, .axis = axis};
    for (std::int64_t c = 0; c < channels; ++c) {
      grid.scale.push_back(uniform(0.5F, 1.5F) / static_cast<float>(grid.qmax()) / 4);
      grid.zero_point.push_back(0);
    }
    Tensor codes(DataType::int8, std::move(shape));
    for (auto& q : codes.mutable_data<std::int8_t>())
      q = static_cast<std::int8_t>(std::uniform_int_distribution<int>(grid.qmin(), grid.qmax())(random));
    return constant(std::move(codes), std::move(grid));
  }
  ValueId constant(Tensor codes, QuantParams grid) {
    const ValueId id = graph.add_constant(graph.unique_name("w"), std::move(codes));
    graph.value(id).quant = std::move(grid);
    return id;
  }
  /// int32 bias on the grid s_x * s_w[c].
  ValueId bias(ValueId x, ValueId w) {
    const QuantParams& weight_grid = *graph.value(w).quant;
    const QuantParams input_grid = *graph.value(x).quant;
    const auto& codes = *graph.value(w).constant;
    const bool per_channel = weight_grid.per_channel();
    const std::int64_t channels = per_channel ? codes.dim(weight_grid.axis) : codes.dim(0);
    QuantParams grid{.bits = 32, .is_signed = true, .axis = per_channel ? 0 : -1};
    for (float s : weight_grid.scale) {
      grid.scale.push_back(s * input_grid.scale[0]);
      grid.zero_point.push_back(0);
    }
    Tensor values(DataType::int32, {channels});
    for (auto& q : values.mutable_data<std::int32_t>()) q = std::uniform_int_distribution<int>(-2000, 2000)(random);
    return constant(std::move(values), std::move(grid));
  }
};

inline Window window(std::int64_t kernel, std::int64_t stride, std::int64_t pad, std::int64_t dilation = 1) {
  return {{kernel, kernel}, {stride, stride}, {dilation, dilation}, {pad, pad, pad, pad}, AutoPad::none};
}

/// Conv, LeakyRelu, MaxPool, Flatten, Gemm, all on grids; batch dynamic.
inline GraphBuilder integer_network() {
  GraphBuilder b;
  const ValueId x = b.input({kDynamic, 3, 8, 8}, unsigned_grid(0.02F, 100));
  const ValueId c = b.node(Conv{window(3, 1, 1), 1}, {x, b.weights({8, 3, 3, 3}, 0)}, unsigned_grid(0.05F, 120));
  const ValueId r = b.node(Parametric{ParametricKind::leaky_relu, 0.1F}, {c}, unsigned_grid(0.03F, 20));
  const ValueId p = b.node(Pool{PoolKind::max, window(2, 2, 0)}, {r}, unsigned_grid(0.03F, 20));
  const ValueId f = b.node(Flatten{1}, {p}, unsigned_grid(0.03F, 20));
  b.output(b.node(Gemm{}, {f, b.weights({128, 10}, 1)}, unsigned_grid(0.2F, 128)));
  return b;
}

}  // namespace bitfold::engine
