#include "builder.h"

#include <cmath>
#include <utility>

namespace bitfold::networks {

void fill_normal(Tensor& tensor, float mean, float deviation, std::mt19937& random) {
  const auto uniform = [&] { return static_cast<float>(random() >> 8U) / 16777216.0F; };
  const float width = deviation * std::sqrt(3.0F);  // a uniform number has variance 1/12; the sum of four has 1/3
  for (float& x : tensor.mutable_data<float>()) {
    const float sum = uniform() + uniform() + uniform() + uniform();
    x = mean + (sum - 2.0F) * width;
  }
}

Builder::Builder(std::string_view name) { graph.name = name; }

std::string Builder::next_name(std::string_view stem) { return std::string(stem) + "_" + std::to_string(++count_); }

ValueId Builder::constant(Tensor tensor) { return graph.add_constant(next_name("constant"), std::move(tensor)); }

ValueId Builder::normal(Shape shape, float mean, float deviation) {
  Tensor tensor(DataType::float32, std::move(shape));
  fill_normal(tensor, mean, deviation, random_);
  return constant(std::move(tensor));
}

ValueId Builder::scalar(float number) { return constant(Tensor::from<float>({}, std::vector<float>{number})); }

ValueId Builder::indices(const std::vector<std::int64_t>& numbers) {
  return constant(Tensor::from<std::int64_t>({static_cast<std::int64_t>(numbers.size())}, numbers));
}

ValueId Builder::input(Shape shape) {
  shape[0] = kDynamic;
  return graph.add_input("input", DataType::float32, std::move(shape));
}

ValueId Builder::image(std::int64_t channels, std::int64_t size) { return input({kDynamic, channels, size, size}); }

ValueId Builder::node(Op op, std::vector<ValueId> inputs) {
  std::string name = next_name(op_name(op));
  const ValueId y = graph.add(std::move(op), name, inputs, name + "_out");
  std::vector<ValueInfo> infos;
  for (ValueId input : inputs) infos.push_back(declared_info(graph.value(input)));
  graph.value(y).shape = infer_node(graph.node(graph.producer(y)), infos)[0].shape;
  for (auto& d : *graph.value(y).shape)
    if (d < 0) d = kDynamic;
  return y;
}

std::int64_t Builder::size(ValueId value, std::int64_t axis) const {
  const Shape& shape = *graph.value(value).shape;
  return shape[static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(shape.size()) : axis)];
}

ValueId Builder::conv(ValueId x, const ConvSpec& spec) {
  const std::int64_t depth = size(x, 1) / spec.groups, k = spec.kernel;
  const std::int64_t pad = spec.padding.value_or((k - 1) / 2);
  const Window window{
      .kernel = {k, k}, .strides = {spec.stride, spec.stride}, .dilations = {1, 1}, .pads = {pad, pad, pad, pad}};
  const float deviation = std::sqrt(2.0F / static_cast<float>(depth * k * k));
  const ValueId w = normal({spec.channels, depth, k, k}, 0, deviation);
  const ValueId y = node(Conv{window, spec.groups}, {x, w});
  const ValueId gamma = normal({spec.channels}, spec.gain, 0.1F * spec.gain);
  const ValueId beta = normal({spec.channels}, 0, 0.1F);
  const ValueId mean = normal({spec.channels}, 0, 0.1F), variance = normal({spec.channels}, 1, 0.1F);
  const ValueId normalized = node(BatchNorm{}, {y, gamma, beta, mean, variance});
  switch (spec.activation) {
    case Activation::relu:
      return node(Unary{UnaryKind::relu}, {normalized});
    case Activation::relu6:
      return node(Clip{}, {normalized, scalar(0), scalar(6)});
    case Activation::none:
      break;
  }
  return normalized;
}

ValueId Builder::max_pool(ValueId x, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t pad = (kernel - 1) / 2;
  return node(Pool{PoolKind::max, Window{.kernel = {kernel, kernel},
                                         .strides = {stride, stride},
                                         .dilations = {1, 1},
                                         .pads = {pad, pad, pad, pad}}},
              {x});
}

ValueId Builder::classifier(ValueId x, std::int64_t classes) {
  const std::int64_t depth = size(x, 1);
  const ValueId features = node(Flatten{1}, {node(GlobalPool{PoolKind::average}, {x})});
  const ValueId w = normal({classes, depth}, 0, 1 / std::sqrt(static_cast<float>(depth)));
  return node(Gemm{.trans_b = true}, {features, w, normal({classes}, 0, 0.1F)});
}

ValueId Builder::linear(ValueId x, std::int64_t columns) {
  const std::int64_t depth = size(x, -1);
  const ValueId w = normal({depth, columns}, 0, 1 / std::sqrt(static_cast<float>(depth)));
  return add(node(MatMul{}, {x, w}), normal({columns}, 0, 0.1F));
}

ValueId Builder::layer_norm(ValueId x) {
  const std::int64_t width = size(x, -1);
  return node(LayerNorm{}, {x, normal({width}, 1, 0.1F), normal({width}, 0, 0.1F)});
}

ValueId Builder::reshape(ValueId x, const std::vector<std::int64_t>& shape) {
  return node(Reshape{}, {x, indices(shape)});
}

ValueId Builder::transpose(ValueId x, std::vector<std::int64_t> perm) { return node(Transpose{std::move(perm)}, {x}); }

ValueId Builder::scaled(ValueId x, float factor) { return node(Binary{BinaryKind::mul}, {x, scalar(factor)}); }

}  // namespace bitfold::networks
