#include "networks.h"

#include <cmath>
#include <string>
#include <vector>

#include "bitfold/bitfold.h"

namespace networks {

using bitfold::Graph;
using bitfold::Shape;
using bitfold::Tensor;
using bitfold::ValueId;

Tensor Random::normal(const Shape& shape, float deviation) {
  Tensor t(bitfold::DataType::float32, shape);
  for (float& v : t.mutable_data<float>()) {
    float sum = -6;
    for (int i = 0; i < 12; ++i) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      sum += static_cast<float>(state_ >> 40U) / static_cast<float>(1U << 24U);
    }
    v = deviation * sum;
  }
  return t;
}

namespace {

constexpr bitfold::Unary kRelu{bitfold::UnaryKind::relu};

/// A graph under construction. Weights have He et al.'s deviation, times a gain.
class Builder {
 public:
  explicit Builder(const Shape& input) : value_(graph_.add_input("x", bitfold::DataType::float32, input)) {}

  ValueId value() const { return value_; }
  void set_value(ValueId value) { value_ = value; }

  ValueId constant(const Shape& shape, float deviation) {
    return graph_.add_constant(graph_.unique_name("w"), random_.normal(shape, deviation));
  }
  ValueId integers(const std::vector<std::int64_t>& values) {
    return graph_.add_constant(graph_.unique_name("shape"),
                               Tensor::from<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
  }
  ValueId add(bitfold::Op op, std::vector<ValueId> inputs) {
    const std::string name = graph_.unique_name(bitfold::op_name(op));
    return graph_.add(std::move(op), name + "_node", std::move(inputs), name);
  }

  Builder& conv(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride = 1, std::int64_t group = 1,
                float gain = 1) {
    const auto fan_in = static_cast<float>(in / group * kernel * kernel);
    const ValueId w = constant({out, in / group, kernel, kernel}, gain * std::sqrt(2 / fan_in)),
                  b = constant({out}, 0.1F);
    const std::int64_t pad = kernel / 2;
    const bitfold::Window window{
        .kernel = {kernel, kernel}, .strides = {stride, stride}, .dilations = {1, 1}, .pads = {pad, pad, pad, pad}};
    value_ = add(bitfold::Conv{.window = window, .group = group}, {value_, w, b});
    return *this;
  }
  Builder& relu() {
    value_ = add(kRelu, {value_});
    return *this;
  }
  Builder& relu6() {
    const auto bound = [&](float v) {
      return graph_.add_constant(graph_.unique_name("bound"), Tensor::from<float>({}, std::vector<float>{v}));
    };
    value_ = add(bitfold::Clip{}, {value_, bound(0), bound(6)});
    return *this;
  }
  Builder& plus(ValueId other) {
    value_ = add(bitfold::Binary{bitfold::BinaryKind::add}, {value_, other});
    return *this;
  }
  Builder& linear(std::int64_t in, std::int64_t out) {  // of the last axis
    value_ = add(bitfold::MatMul{}, {value_, constant({in, out}, 1 / std::sqrt(static_cast<float>(in)))});
    return plus(constant({out}, 0.1F));
  }

  Graph classified(std::int64_t features) {
    value_ = add(bitfold::GlobalPool{bitfold::PoolKind::average}, {value_});
    value_ = add(bitfold::Flatten{1}, {value_});
    const ValueId w = constant({1000, features}, 1 / std::sqrt(static_cast<float>(features)));
    value_ = add(bitfold::Gemm{.trans_b = true}, {value_, w, constant({1000}, 0.1F)});
    return finished();
  }
  Graph finished() {
    graph_.mark_output(value_);
    bitfold::infer_shapes(graph_);
    bitfold::verify(graph_, bitfold::Stage::imported);
    return std::move(graph_);
  }

 private:
  Graph graph_;
  Random random_{1};
  ValueId value_;
};

}  // namespace

Graph resnet50() {
  Builder b({bitfold::kDynamic, 3, 224, 224});
  b.conv(3, 64, 7, 2).relu();
  const bitfold::Window window{.kernel = {3, 3}, .strides = {2, 2}, .dilations = {1, 1}, .pads = {1, 1, 1, 1}};
  b.set_value(b.add(bitfold::Pool{.kind = bitfold::PoolKind::max, .window = window}, {b.value()}));
  std::int64_t in = 64;
  for (int stage = 0; stage < 4; ++stage) {
    const std::int64_t width = 64 << stage, out = 4 * width;
    const int blocks = std::array{3, 4, 6, 3}[static_cast<std::size_t>(stage)];
    for (int block = 0; block < blocks; ++block) {
      const std::int64_t stride = block == 0 && stage > 0 ? 2 : 1;
      const ValueId x = b.value();
      if (in != out) b.conv(in, out, 1, stride);
      const ValueId shortcut = b.value();
      b.set_value(x);
      b.conv(in, width, 1).relu().conv(width, width, 3, stride).relu().conv(width, out, 1, 1, 1, 0.3F);
      b.plus(shortcut).relu();
      in = out;
    }
  }
  return b.classified(2048);
}

Graph mobilenet_v2() {
  Builder b({bitfold::kDynamic, 3, 224, 224});
  b.conv(3, 32, 3, 2).relu6();
  std::int64_t in = 32;
  struct Stage {
    std::int64_t expansion, out, count, stride;
  };
  for (const auto& [expansion, out, count, first_stride] :
       {Stage{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}})
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t stride = i == 0 ? first_stride : 1, wide = in * expansion;
      const ValueId x = b.value();
      if (expansion > 1) b.conv(in, wide, 1).relu6();
      b.conv(wide, wide, 3, stride, wide).relu6().conv(wide, out, 1);
      if (stride == 1 && in == out) b.plus(x);
      in = out;
    }
  b.conv(320, 1280, 1).relu6();
  return b.classified(1280);
}

Graph encoder() {
  constexpr std::int64_t kTokens = 128, kWidth = 768, kHeads = 12, kHead = kWidth / kHeads;
  Builder b({bitfold::kDynamic, kTokens, kWidth});
  const auto normalized = [&](ValueId x) {
    return b.add(bitfold::LayerNorm{}, {x, b.constant({kWidth}, 1), b.constant({kWidth}, 0.1F)});
  };
  const auto linear = [&](ValueId x, std::int64_t in, std::int64_t out) {
    b.set_value(x);
    return b.linear(in, out).value();
  };
  const auto heads = [&](ValueId x) {
    const ValueId split =
        b.add(bitfold::Reshape{}, {linear(x, kWidth, kWidth), b.integers({0, kTokens, kHeads, kHead})});
    return split;
  };
  const ValueId x = b.value(), n = normalized(x);
  const ValueId q = b.add(bitfold::Transpose{{0, 2, 1, 3}}, {heads(n)});
  const ValueId k = b.add(bitfold::Transpose{{0, 2, 3, 1}}, {heads(n)});
  const ValueId v = b.add(bitfold::Transpose{{0, 2, 1, 3}}, {heads(n)});
  const ValueId weights = b.add(bitfold::Softmax{-1}, {b.add(bitfold::MatMul{}, {q, k})});
  const ValueId mixed = b.add(bitfold::Transpose{{0, 2, 1, 3}}, {b.add(bitfold::MatMul{}, {weights, v})});
  linear(b.add(bitfold::Reshape{}, {mixed, b.integers({0, kTokens, kWidth})}), kWidth, kWidth);
  const ValueId attended = b.plus(x).value();
  const ValueId wide = linear(normalized(attended), kWidth, 4 * kWidth);
  linear(b.add(kRelu, {wide}), 4 * kWidth, kWidth);
  return b.plus(attended).finished();
}

}  // namespace networks
