#include <cmath>

#include "builder.h"
#include "networks.h"

namespace bitfold::networks {
namespace {

struct EncoderSpec {
  std::int64_t heads, inner;
  bool norm_first;  ///< Whether a block normalizes its input (ViT) instead of its sums (BERT).
};

ValueId attention(Builder& b, ValueId x, std::int64_t heads) {
  const std::int64_t tokens = b.size(x, 1), width = b.size(x, 2), depth = width / heads;
  const auto split = [&](std::vector<std::int64_t> perm) {
    return b.transpose(b.reshape(b.linear(x, width), {0, tokens, heads, depth}), std::move(perm));
  };
  const ValueId query = split({0, 2, 1, 3}), key = split({0, 2, 3, 1}), value = split({0, 2, 1, 3});
  const float scale = 1 / std::sqrt(static_cast<float>(depth));
  const ValueId weights = b.node(Softmax{}, {b.scaled(b.node(MatMul{}, {query, key}), scale)});
  const ValueId mixed = b.transpose(b.node(MatMul{}, {weights, value}), {0, 2, 1, 3});
  return b.linear(b.reshape(mixed, {0, tokens, width}), width);
}

ValueId feed_forward(Builder& b, ValueId x, std::int64_t inner) {
  const std::int64_t width = b.size(x, 2);
  return b.linear(b.node(Unary{UnaryKind::gelu}, {b.linear(x, inner)}), width);
}

ValueId encoder_layer(Builder& b, ValueId x, const EncoderSpec& spec) {
  if (spec.norm_first) {
    x = b.add(x, attention(b, b.layer_norm(x), spec.heads));
    return b.add(x, feed_forward(b, b.layer_norm(x), spec.inner));
  }
  x = b.layer_norm(b.add(x, attention(b, x, spec.heads)));
  return b.layer_norm(b.add(x, feed_forward(b, x, spec.inner)));
}

}  // namespace

Graph vit_tiny() {
  constexpr std::int64_t kWidth = 192, kPatch = 16, kLayers = 12;
  Builder b("vit_tiny");
  ValueId x = b.image(3, 224);
  x = b.conv(x, {.channels = kWidth, .kernel = kPatch, .stride = kPatch, .activation = Activation::none, .padding = 0});
  const std::int64_t tokens = b.size(x, 2) * b.size(x, 3);
  x = b.transpose(b.reshape(x, {0, kWidth, tokens}), {0, 2, 1});
  x = b.add(x, b.normal({1, tokens, kWidth}, 0, 0.5F));
  for (std::int64_t i = 0; i < kLayers; ++i) x = encoder_layer(b, x, {.heads = 3, .inner = 768, .norm_first = true});
  x = b.transpose(b.layer_norm(x), {0, 2, 1});
  b.output(b.classifier(x, 1000));
  return std::move(b.graph);
}

Graph bert_layer() {
  Builder b("bert_layer");
  const ValueId x = b.input({kDynamic, 128, 768});
  b.output(encoder_layer(b, x, {.heads = 12, .inner = 3072, .norm_first = false}));
  return std::move(b.graph);
}

}  // namespace bitfold::networks
