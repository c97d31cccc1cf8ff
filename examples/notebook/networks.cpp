#include "networks.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace notebook {

using bitfold::Graph;
using bitfold::Shape;
using bitfold::Tensor;
using bitfold::ValueId;

Tensor Random::uniform(const Shape& shape, float low, float high) {
  Tensor t(bitfold::DataType::float32, shape);
  for (float& v : t.mutable_data<float>()) v = low + (high - low) * unit();
  return t;
}

Tensor Random::normal(const Shape& shape) {
  Tensor t(bitfold::DataType::float32, shape);
  for (float& v : t.mutable_data<float>()) {
    float sum = -6;
    for (int i = 0; i < 12; ++i) sum += unit();
    v = sum;
  }
  return t;
}

namespace {

constexpr bitfold::Unary kRelu{bitfold::UnaryKind::relu};

// PyTorch initializes weights and biases of a layer in [-1 / sqrt(fan_in), 1 / sqrt(fan_in)].
struct Parameters {
  ValueId weight, bias;
};
Parameters add_parameters(Graph& graph, const std::string& layer, const Shape& weight_shape, Random& random) {
  const std::int64_t fan_in = bitfold::element_count(weight_shape) / weight_shape[0];
  const float bound = 1 / std::sqrt(static_cast<float>(fan_in));
  const ValueId weight = graph.add_constant(layer + ".weight", random.uniform(weight_shape, -bound, bound));
  return {weight, graph.add_constant(layer + ".bias", random.uniform({weight_shape[0]}, -bound, bound))};
}

ValueId add_conv(Graph& graph, const std::string& layer, ValueId x, const Shape& weight_shape, Random& random) {
  const auto [weight, bias] = add_parameters(graph, layer, weight_shape, random);
  const bitfold::Conv conv{
      .window = {
          .kernel = {weight_shape[2], weight_shape[3]}, .strides = {1, 1}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  return graph.add(conv, layer, {x, weight, bias}, layer + ".out");
}

ValueId add_linear(Graph& graph, const std::string& layer, ValueId x, const Shape& weight_shape, Random& random) {
  const auto [weight, bias] = add_parameters(graph, layer, weight_shape, random);
  return graph.add(bitfold::Gemm{.trans_b = true}, layer, {x, weight, bias}, layer + ".out");
}

ValueId add_relu_and_pool(Graph& graph, const std::string& stem, ValueId x) {
  const bitfold::Pool pool{.kind = bitfold::PoolKind::max,
                           .window = {.kernel = {2, 2}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {0, 0, 0, 0}}};
  const ValueId relu = graph.add(kRelu, "relu" + stem, {x}, "relu" + stem + ".out");
  return graph.add(pool, "pool" + stem, {relu}, "pool" + stem + ".out");
}

Graph finished(Graph graph, ValueId output) {
  graph.mark_output(output);
  bitfold::infer_shapes(graph);
  bitfold::verify(graph, bitfold::Stage::imported);
  return graph;
}

}  // namespace

Graph lenet() {
  Graph graph;
  graph.name = "lenet";
  Random random(12);
  ValueId x = graph.add_input("x", bitfold::DataType::float32, {bitfold::kDynamic, 3, 28, 28});
  x = add_relu_and_pool(graph, "1", add_conv(graph, "conv1", x, {20, 3, 5, 5}, random));
  x = add_relu_and_pool(graph, "2", add_conv(graph, "conv2", x, {50, 20, 5, 5}, random));
  x = graph.add(bitfold::Flatten{.axis = 1}, "view", {x}, "view.out");
  x = add_linear(graph, "fc1", x, {500, 4 * 4 * 50}, random);
  x = graph.add(kRelu, "relu3", {x}, "relu3.out");
  return finished(graph, add_linear(graph, "fc2", x, {10, 500}, random));
}

Statistics fresh_statistics() {
  const Tensor one = Tensor::from<float>({20}, std::vector<float>(20, 1)), zero(bitfold::DataType::float32, {20});
  return {.gamma = one, .beta = zero, .mean = zero, .variance = one};
}

Statistics trained_statistics() {
  Random random(195);
  return {.gamma = random.uniform({20}, 0.3F, 1.2F),
          .beta = random.uniform({20}, -0.5F, 0.5F),
          .mean = random.uniform({20}, -0.5F, 0.5F),
          .variance = random.uniform({20}, 0.2F, 2.0F)};
}

namespace {

Graph conv_block(const Statistics* statistics, bool relu) {
  Graph graph;
  graph.name = "block";
  Random random(284);
  ValueId x = graph.add_input("x", bitfold::DataType::float32, {1, 3, 32, 32});
  x = add_conv(graph, "conv1", x, {20, 3, 5, 5}, random);
  if (statistics != nullptr) {
    const ValueId gamma = graph.add_constant("bn1.weight", statistics->gamma);
    const ValueId beta = graph.add_constant("bn1.bias", statistics->beta);
    const ValueId mean = graph.add_constant("bn1.running_mean", statistics->mean);
    const ValueId variance = graph.add_constant("bn1.running_var", statistics->variance);
    x = graph.add(bitfold::BatchNorm{.epsilon = 1e-5F}, "bn1", {x, gamma, beta, mean, variance}, "bn1.out");
  }
  if (relu) x = graph.add(kRelu, "relu1", {x}, "relu1.out");
  return finished(graph, x);
}

}  // namespace

Graph block(const Statistics& statistics, bool relu) { return conv_block(&statistics, relu); }
Graph convolution_alone(bool relu) { return conv_block(nullptr, relu); }

Images::Images(std::int64_t count, std::uint32_t seed) : count_(count), seed_(seed) {}

std::optional<bitfold::Batch> Images::next(std::int64_t max_samples) {
  const std::int64_t n = std::min(max_samples, count_ - position_);
  if (n <= 0) return std::nullopt;
  bitfold::Batch batch;
  batch.sample_count = n;
  Tensor x(bitfold::DataType::float32, {n, 3, 28, 28});
  const auto to = x.mutable_data<float>();
  constexpr std::size_t kImage = std::size_t{3} * 28 * 28;
  for (std::int64_t i = 0; i < n; ++i) {  // one seed per image, so that batches of any size contain the same images
    const Tensor image = Random(seed_ + static_cast<std::uint32_t>(position_ + i)).normal({3, 28, 28});
    std::copy(image.data<float>().begin(), image.data<float>().end(),
              to.begin() + static_cast<std::ptrdiff_t>(i * kImage));
  }
  batch.inputs.push_back(std::move(x));
  position_ += n;
  return batch;
}

}  // namespace notebook
