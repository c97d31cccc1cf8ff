// Adds layers with random weights to a Graph, one after another.
//
// Speed depends on shapes and hardly on values, as long as values keep the ranges of trained networks. Kernels are
// therefore scaled as in He et al. (2015), which preserves the second moment from layer to layer.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold::networks {

enum class Activation { none, relu, relu6 };

struct ConvSpec {
  std::int64_t channels = 0;
  std::int64_t kernel = 1, stride = 1, groups = 1;
  Activation activation = Activation::relu;
  std::optional<std::int64_t> padding;  ///< Padding at each edge; if absent, as much as keeps the size at stride 1.
  float gain = 1;                       ///< Scale of the BatchNorm.
};

class Builder {
 public:
  Graph graph;

  explicit Builder(std::string_view name);

  ValueId image(std::int64_t channels, std::int64_t size);
  ValueId input(Shape shape);  ///< float32; the first dimension is made dynamic.
  void output(ValueId value) { graph.mark_output(value); }

  /// Convolution, BatchNorm and activation.
  ValueId conv(ValueId x, const ConvSpec& spec);
  ValueId max_pool(ValueId x, std::int64_t kernel, std::int64_t stride);
  /// Global average pool, Flatten and a fully connected layer.
  ValueId classifier(ValueId x, std::int64_t classes);
  ValueId add(ValueId a, ValueId b) { return node(Binary{BinaryKind::add}, {a, b}); }

  /// A fully connected layer over the last axis: a matrix product and its bias.
  ValueId linear(ValueId x, std::int64_t columns);
  ValueId layer_norm(ValueId x);
  ValueId reshape(ValueId x, const std::vector<std::int64_t>& shape);  ///< An entry of 0 keeps that dimension.
  ValueId transpose(ValueId x, std::vector<std::int64_t> perm);
  ValueId scaled(ValueId x, float factor);

  /// The size along an axis; negative axes count from the last.
  std::int64_t size(ValueId value, std::int64_t axis) const;
  ValueId node(Op op, std::vector<ValueId> inputs);
  ValueId normal(Shape shape, float mean, float deviation);  ///< Adds a constant of normally distributed numbers.

 private:
  ValueId scalar(float number);
  ValueId indices(const std::vector<std::int64_t>& numbers);
  ValueId constant(Tensor tensor);
  std::string next_name(std::string_view stem);

  std::mt19937 random_{1};
  int count_ = 0;
};

/// Roughly normal: the sum of four uniform numbers, the same on every platform (unlike std::normal_distribution).
void fill_normal(Tensor& tensor, float mean, float deviation, std::mt19937& random);

}  // namespace bitfold::networks
