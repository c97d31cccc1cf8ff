#include <array>

#include "builder.h"
#include "networks.h"

namespace bitfold::networks {
namespace {

constexpr std::int64_t kClasses = 1000, kImageSize = 224;

ValueId bottleneck(Builder& b, ValueId x, std::int64_t width, std::int64_t stride) {
  const std::int64_t channels = 4 * width;
  ValueId y = b.conv(x, {.channels = width});
  y = b.conv(y, {.channels = width, .kernel = 3, .stride = stride});
  // Small, as in trained networks; otherwise the sums of many blocks would grow.
  y = b.conv(y, {.channels = channels, .activation = Activation::none, .gain = 0.5F});
  if (b.size(x, 1) != channels) x = b.conv(x, {.channels = channels, .stride = stride, .activation = Activation::none});
  return b.node(Unary{UnaryKind::relu}, {b.add(y, x)});
}

struct InvertedStage {
  std::int64_t expansion, channels, count, stride, kernel;
};

ValueId inverted_residual(Builder& b, ValueId x, const InvertedStage& stage, std::int64_t stride) {
  const std::int64_t in = b.size(x, 1), inner = in * stage.expansion;
  ValueId y = x;
  if (stage.expansion > 1) y = b.conv(y, {.channels = inner, .activation = Activation::relu6});
  y = b.conv(
      y,
      {.channels = inner, .kernel = stage.kernel, .stride = stride, .groups = inner, .activation = Activation::relu6});
  const bool is_residual = stride == 1 && in == stage.channels;
  y = b.conv(y, {.channels = stage.channels, .activation = Activation::none, .gain = is_residual ? 0.5F : 1.0F});
  return is_residual ? b.add(y, x) : y;
}

/// The structure shared by MobileNetV2 and EfficientNet-Lite.
Graph inverted_network(const char* name, std::span<const InvertedStage> stages) {
  Builder b(name);
  ValueId x = b.image(3, kImageSize);
  x = b.conv(x, {.channels = 32, .kernel = 3, .stride = 2, .activation = Activation::relu6});
  for (const InvertedStage& stage : stages)
    for (std::int64_t i = 0; i < stage.count; ++i) x = inverted_residual(b, x, stage, i == 0 ? stage.stride : 1);
  x = b.conv(x, {.channels = 1280, .activation = Activation::relu6});
  b.output(b.classifier(x, kClasses));
  return std::move(b.graph);
}

}  // namespace

Graph resnet50() {
  Builder b("resnet50");
  ValueId x = b.image(3, kImageSize);
  x = b.conv(x, {.channels = 64, .kernel = 7, .stride = 2});
  x = b.max_pool(x, 3, 2);
  constexpr std::array<std::int64_t, 4> kBlocks{3, 4, 6, 3};
  std::int64_t width = 64;
  for (std::size_t stage = 0; stage < kBlocks.size(); ++stage, width *= 2)
    for (std::int64_t i = 0; i < kBlocks[stage]; ++i) x = bottleneck(b, x, width, stage > 0 && i == 0 ? 2 : 1);
  b.output(b.classifier(x, kClasses));
  return std::move(b.graph);
}

Graph mobilenet_v2() {
  constexpr std::array<InvertedStage, 7> kStages{{{1, 16, 1, 1, 3},
                                                  {6, 24, 2, 2, 3},
                                                  {6, 32, 3, 2, 3},
                                                  {6, 64, 4, 2, 3},
                                                  {6, 96, 3, 1, 3},
                                                  {6, 160, 3, 2, 3},
                                                  {6, 320, 1, 1, 3}}};
  return inverted_network("mobilenet_v2", kStages);
}

Graph efficientnet_lite0() {
  constexpr std::array<InvertedStage, 7> kStages{{{1, 16, 1, 1, 3},
                                                  {6, 24, 2, 2, 3},
                                                  {6, 40, 2, 2, 5},
                                                  {6, 80, 3, 2, 3},
                                                  {6, 112, 3, 1, 5},
                                                  {6, 192, 4, 2, 5},
                                                  {6, 320, 1, 1, 3}}};
  return inverted_network("efficientnet_lite0", kStages);
}

}  // namespace bitfold::networks
