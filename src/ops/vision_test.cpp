// Operators on boxes and images: suppression, regions, sampling, and the further forms of Resize.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

TEST(NonMaxSuppression, keeps_the_best_of_overlapping_boxes) {
  const Tensor boxes =
      floats({1, 5, 4}, {0, 0, 1, 1, 0, .1F, 1, 1.1F, 0, -.1F, 1, .9F, 0, 10, 1, 11, 0, 10.1F, 1, 11.1F});
  const Tensor scores = floats({1, 1, 5}, {.9F, .75F, .6F, .95F, .5F});
  const auto most = [](std::int64_t n) { return int64s({n}); };
  expect_op(NonMaxSuppression{}, {boxes, scores, most(3), floats({1}, {.5F}), floats({1}, {.55F})},
            int64s({2, 3}, {0, 0, 3, 0, 0, 0}));
  expect_op(NonMaxSuppression{}, {boxes, scores, most(1), floats({1}, {.5F})}, int64s({1, 3}, {0, 0, 3}));
  expect_op(NonMaxSuppression{}, {boxes, scores}, int64s({0, 3}, {}));
  expect_op(NonMaxSuppression{}, {boxes, scores, most(9), floats({1}, {1})},
            int64s({5, 3}, {0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 4}));
  // Boxes may have their corners in any order, or have a centre and a size.
  expect_op(NonMaxSuppression{},
            {floats({1, 2, 4}, {1, 1, 0, 0, 0, 0, 1, 1}), floats({1, 1, 2}, {1, 1}), most(2), floats({1}, {.5F})},
            int64s({1, 3}, {0, 0, 0}));
  expect_op(NonMaxSuppression{true},
            {floats({1, 2, 4}, {1, 1, 2, 2, 1, 1, 2, 1}), floats({1, 1, 2}, {1, 2}), most(2), floats({1}, {.6F})},
            int64s({2, 3}, {0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(op_message(NonMaxSuppression{}, {boxes, scores, most(1), floats({1}, {1.5F})}),
            "[NonMaxSuppression 'n'] the IoU threshold is 1.5; it must be between 0 and 1");
  EXPECT_EQ(op_message(NonMaxSuppression{}, {boxes, floats({1, 1, 4}, {1, 2, 3, 4}), most(1)}),
            "[NonMaxSuppression 'n'] boxes have shape 1x5x4, scores 1x1x4; expected batch x boxes x 4 and batch x "
            "classes x boxes");
}

Tensor counted_image() {
  Tensor x = iota({1, 1, 5, 5});
  for (float& v : x.mutable_data<float>()) v -= 12;
  return x;
}

TEST(RoiAlign, averages_or_maximizes_samples) {
  const Tensor rois = floats({2, 4}, {0, 0, 4, 4, 1, 0.5F, 3.2F, 4.1F});
  const auto expect = [&](RoiMode mode, bool half_pixel, std::int64_t ratio, const std::vector<float>& values) {
    expect_op(RoiAlign{mode, half_pixel, 2, 2, ratio, 0.9F}, {counted_image(), rois, int64s({0, 0})},
              floats({2, 1, 2, 2}, values));
  };
  // The values are those of ONNX Runtime, which rounds them to 7 digits.
  expect(RoiMode::average, true, 0, {-8.45F, -6.675F, 0.425F, 2.2F, -6.305F, -5.315F, 1.795F, 2.785F});
  expect(RoiMode::average, false, 2, {-5.6F, -3.8F, 3.4F, 5.2F, -3.305F, -2.315F, 4.795F, 5.785F});
  expect(RoiMode::max, true, 0, {0, 0, 2.7625F, 2.9575F, 0, 0.146025F, 3.512875F, 4.16835F});
  EXPECT_EQ(op_message(RoiAlign{}, {counted_image(), floats({1, 4}, {0, 0, 1, 1}), int64s({1})}),
            "[RoiAlign 'n'] region 0 is in sample 1, but the batch has 1 samples");
  EXPECT_NE(op_message(RoiAlign{}, {counted_image(), floats({1, 4}, {0, 0, 1e9F, 1}), int64s({0})}).find("samples"),
            std::string::npos);
  EXPECT_EQ(op_message(RoiAlign{}, {counted_image(), floats({1, 5}, {0, 0, 1, 1, 1}), int64s({0})}),
            "[RoiAlign 'n'] rois have shape 1x5, expected 4 columns");
}

TEST(MaxRoiPool, rounds_regions_to_pixels) {
  expect_op(MaxRoiPool{{2, 2}, 0.8F}, {counted_image(), floats({2, 5}, {0, 0, 0, 4, 4, 0, 1, 2, 3, 9})},
            floats({2, 1, 2, 2}, {-5, -3, 5, 7, 10, 11, 0, 0}));
  EXPECT_EQ(op_message(MaxRoiPool{{2, 2}, 1}, {counted_image(), floats({1, 5}, {-1, 0, 0, 4, 4})}),
            "[MaxRoiPool 'n'] region 0 is in sample -1, but the batch has 1 samples");
  EXPECT_EQ(op_message(MaxRoiPool{{2, 2}, 1}, {counted_image(), floats({1, 5}, {0, 0, 0, kNan, 4})}),
            "[MaxRoiPool 'n'] region 0 has a corner at nan");
}

TEST(GridSample, modes_and_paddings_give_onnx_values) {
  using M = SampleMode;
  using P = SamplePadding;
  struct Case {
    M mode;
    P padding;
    bool align_corners;
    std::vector<float> values;
  };
  const std::vector<Case> cases{
      {M::linear, P::zeros, false, {0.25F, 8.3F, 4.76F, 0}},
      {M::linear, P::zeros, true, {1, 7.65F, 7.05F, 0.88F}},
      {M::linear, P::border, false, {1, 8.3F, 6.8F, 4}},
      {M::linear, P::border, true, {1, 7.65F, 7.05F, 4}},
      {M::linear, P::reflection, false, {1, 8.3F, 6.8F, 5.5F}},
      {M::linear, P::reflection, true, {1, 7.65F, 7.05F, 5.95F}},
      {M::nearest, P::zeros, false, {1, 10, 8, 0}},
      {M::nearest, P::zeros, true, {1, 6, 8, 0}},
      {M::nearest, P::border, true, {1, 6, 8, 4}},
      {M::nearest, P::reflection, false, {1, 10, 8, 4}},
      {M::nearest, P::reflection, true, {1, 6, 8, 8}},
      {M::cubic, P::zeros, false, {0.015625F, 9.716613F, 4.897135F, 0.02624397F}},
      {M::cubic, P::zeros, true, {1, 8.780506F, 7.461557F, 0.7426324F}},
      {M::cubic, P::border, false, {0.53125F, 8.593249F, 6.553254F, 3.999999F}},
      {M::cubic, P::reflection, false, {0.0625F, 8.593249F, 6.600503F, 5.18875F}},
      {M::cubic, P::reflection, true, {1, 8.343366F, 6.783941F, 5.46981F}},
  };
  const Tensor grid = floats({1, 2, 2, 2}, {-1, -1, -0.3F, 0.4F, 0.9F, -0.2F, 1.3F, -1.6F});
  for (const Case& c : cases) {
    SCOPED_TRACE(::testing::Message() << static_cast<int>(c.mode) << static_cast<int>(c.padding) << c.align_corners);
    const Tensor y = run_op(GridSample{c.mode, c.padding, c.align_corners}, {iota({1, 1, 3, 4}), grid})[0];
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(y.data<float>()[i], c.values[i], 1e-5) << i;
  }
}

TEST(GridSample, samples_volumes_and_positions_that_are_not_numbers) {
  const Tensor grid = floats({1, 1, 1, 2, 3}, {0.2F, -0.5F, 0.7F, -1.2F, 0, 0.1F});
  expect_op(GridSample{}, {iota({1, 1, 2, 2, 2}), grid}, floats({1, 1, 1, 1, 2}, {4.56F, 1.32F}));
  expect_op(GridSample{SampleMode::nearest}, {iota({1, 1, 2, 2, 2}), grid}, floats({1, 1, 1, 1, 2}, {6, 0}));
  const Tensor wild = floats({1, 1, 2, 2}, {kNan, 0, kInfinity, -1e30F});
  expect_op(GridSample{}, {iota({1, 1, 2, 2}), wild}, floats({1, 1, 1, 2}, {0, 0}));
  expect_op(GridSample{SampleMode::linear, SamplePadding::border}, {iota({1, 1, 2, 2}), wild},
            floats({1, 1, 1, 2}, {2, 2}));
  for (const SampleMode mode : {SampleMode::nearest, SampleMode::cubic})
    EXPECT_EQ(run_op(GridSample{mode, SamplePadding::reflection, true}, {iota({1, 1, 1, 1}), wild})[0].size(), 2);
}

TEST(AffineGrid, transforms_the_positions_of_pixels) {
  const Tensor theta = floats({1, 2, 3}, {0.5F, 0.1F, 0.2F, -0.2F, 1, -0.3F});
  expect_op(AffineGrid{}, {theta, int64s({1, 1, 2, 3})},
            floats({1, 2, 3, 2}, {-0.1833333F, -0.6666667F, 0.15F, -0.8F, 0.4833333F, -0.9333333F, -0.08333333F,
                                  0.3333333F, 0.25F, 0.2F, 0.5833333F, 0.06666667F}));
  expect_op(AffineGrid{true}, {theta, int64s({1, 1, 2, 3})},
            floats({1, 2, 3, 2}, {-0.4F, -1.1F, 0.1F, -1.3F, 0.6F, -1.5F, -0.2F, 0.9F, 0.3F, 0.7F, 0.8F, 0.5F}));
  EXPECT_EQ(op_message(AffineGrid{}, {theta, int64s({2, 1, 2, 3})}),
            "[AffineGrid 'n'] theta has shape 1x2x3, which does not fit size 2x1x2x3");
}

TEST(DeformConv, reads_at_the_offsets_and_scales_by_the_mask) {
  Tensor offset(DataType::float32, {1, 8, 2, 2}), mask(DataType::float32, {1, 4, 2, 2});
  const auto set = [](Tensor& t, std::size_t channel, float value) {
    for (std::size_t i = 0; i < 4; ++i) t.mutable_data<float>()[4 * channel + i] = value;
  };
  set(offset, 0, 0.5F);
  set(offset, 3, -0.25F);
  offset.mutable_data<float>()[4 * 7 + 1] = 1.5F;
  for (std::size_t tap = 0; tap < 4; ++tap) set(mask, tap, tap == 1 ? 0.5F : 1);
  expect_op(DeformConv{.window = window({2, 2})},
            {iota({1, 1, 3, 3}), floats({1, 1, 2, 2}, {1, 2, 3, 4}), offset, floats({1}, {1}), mask},
            floats({1, 1, 2, 2}, {37.25F, 22.25F, 64.25F, 73.25F}));
  EXPECT_EQ(
      op_message(DeformConv{.window = window({2, 2})}, {iota({1, 1, 3, 3}), iota({1, 1, 2, 2}), iota({1, 4, 2, 2})}),
      "[DeformConv 'n'] offset has shape 1x4x2x2, expected 8 channels of 2x2");
}

TEST(DeformConv, equals_a_convolution_without_offsets) {
  const Tensor x = iota({2, 4, 7, 9}), w = iota({6, 2, 3, 3}), bias = iota({6});
  const Window padded = window({3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1});
  const Tensor offset(DataType::float32, {2, 36, 7, 9});
  const Tensor expected = run_op(Conv{.window = padded, .group = 2}, {x, w, bias})[0];
  expect_op(DeformConv{.window = padded, .group = 2, .offset_group = 2}, {x, w, offset, bias}, expected);
}

TEST(Col2Im, adds_overlapping_blocks) {
  expect_op(Col2Im{}, {iota({1, 4, 4}), int64s({3, 3}), int64s({2, 2})},
            floats({1, 1, 3, 3}, {1, 7, 6, 12, 34, 22, 11, 27, 16}));
  expect_op(Col2Im{.pads = {1, 1, 0, 1}, .strides = {2, 2}}, {iota({1, 4, 4}), int64s({3, 2}), int64s({2, 2})},
            floats({1, 1, 3, 2}, {13, 10, 7, 4, 15, 12}));
  expect_op(Col2Im{}, {iota({1, 2, 2}), int64s({3}), int64s({2})}, floats({1, 1, 3}, {1, 5, 4}));
  EXPECT_EQ(op_message(Col2Im{}, {iota({1, 4, 3}), int64s({3, 3}), int64s({2, 2})}),
            "[Col2Im 'n'] input has shape 1x4x3, but an image of 3x3 has 4 blocks");
}

TEST(Resize, antialiasing_widens_the_filter) {
  const auto expect = [](ResizeMode mode, bool exclude, const std::vector<float>& values) {
    expect_op(Resize{.mode = mode, .antialias = true, .exclude_outside = exclude},
              {iota({1, 1, 1, 6}), std::nullopt, floats({4}, {1, 1, 1, 0.5F})}, floats({1, 1, 1, 3}, values));
  };
  expect(ResizeMode::linear, false, {1.625F, 3.5F, 5.375F});
  expect(ResizeMode::linear, true, {1.714286F, 3.5F, 5.285714F});
  expect(ResizeMode::cubic, false, {1.472656F, 3.5F, 5.527344F});
  expect(ResizeMode::cubic, true, {1.503119F, 3.5F, 5.496881F});
}

TEST(Resize, excludes_elements_outside_the_input) {
  expect_op(Resize{.mode = ResizeMode::cubic, .exclude_outside = true},
            {iota({1, 1, 1, 4}), std::nullopt, floats({4}, {1, 1, 1, 1.5F})},
            floats({1, 1, 1, 6}, {0.8986486F, 1.371429F, 2.212963F, 2.787037F, 3.628571F, 4.101351F}));
}

// 0.6 of 4 is 2.4 elements, of which two are computed.
TEST(Resize, coordinates_follow_the_size_before_rounding) {
  const Inputs inputs{iota({1, 1, 1, 4}), std::nullopt, floats({4}, {1, 1, 1, 0.6F})};
  const auto op = [](ResizeCoordinates c) { return Resize{.mode = ResizeMode::linear, .coordinates = c}; };
  expect_op(op(ResizeCoordinates::half_pixel_symmetric), inputs, floats({1, 1, 1, 2}, {1.666667F, 3.333333F}));
  expect_op(op(ResizeCoordinates::align_corners), inputs, floats({1, 1, 1, 2}, {1, 3.142857F}));
}

TEST(Resize, crops_and_extrapolates) {
  const Resize op{
      .mode = ResizeMode::linear, .coordinates = ResizeCoordinates::tf_crop_and_resize, .extrapolation_value = 9};
  const Tensor roi = floats({8}, {0, 0, 0, -0.5F, 1, 1, 1, 1});
  // Positions -1.5, 0, 1.5, 3
  expect_op(op, {iota({1, 1, 1, 4}), roi, std::nullopt, int64s({1, 1, 1, 4})}, floats({1, 1, 1, 4}, {9, 1, 2.5F, 4}));
  expect_op(Resize{.mode = ResizeMode::nearest, .coordinates = op.coordinates, .axes = {-1}},
            {iota({1, 1, 1, 4}), floats({2}, {0, 0.5F}), std::nullopt, int64s({1})}, floats({1, 1, 1, 1}, {2}));
  EXPECT_EQ(op_message(op, {iota({1, 1, 1, 4}), floats({2}, {0, 1}), std::nullopt, int64s({1, 1, 1, 4})}),
            "[Resize 'n'] roi has 2 elements, expected 8");
}

TEST(Resize, keeps_the_aspect_ratio_of_the_axes_given) {
  Resize op{.policy = ResizePolicy::not_larger, .axes = {3, 2}};
  const Inputs inputs{iota({1, 1, 2, 4}), std::nullopt, std::nullopt, int64s({3, 3})};
  expect_op(op, inputs, floats({1, 1, 2, 3}, {1, 2, 4, 5, 6, 8}));
  op.policy = ResizePolicy::not_smaller;
  EXPECT_EQ(run_op(op, inputs)[0].shape(), (Shape{1, 1, 3, 6}));
  EXPECT_EQ(op_message(Resize{.axes = {2, -2}}, inputs), "[Resize 'n'] axis 2 is given twice");
}

TEST(Resize, interpolates_integers_and_truncates) {
  const Tensor x = Tensor::from<std::uint8_t>({1, 1, 1, 3}, std::vector<std::uint8_t>{10, 20, 31});
  expect_op(Resize{.mode = ResizeMode::linear}, {x, std::nullopt, floats({4}, {1, 1, 1, 2})},
            Tensor::from<std::uint8_t>({1, 1, 1, 6}, std::vector<std::uint8_t>{10, 12, 17, 22, 28, 31}));
}

TEST(GridSample, samples_many_points_of_every_channel) {
  // The image is its own column, plus 100 in the second channel; a position selects a column along the last axis.
  constexpr std::int64_t kPoints = 75, kColumns = 5;
  std::vector<float> image, grid, near, linear, zeros;
  for (int channel : {0, 1})
    for (std::int64_t i = 0; i < 2 * kColumns; ++i) image.push_back(static_cast<float>(100 * channel + i % kColumns));
  for (int channel : {0, 1})
    for (std::int64_t p = 0; p < kPoints; ++p) {
      const float column = static_cast<float>(p) / 8 - 2, inside = std::clamp(column, 0.0F, 4.0F);
      if (channel == 0) grid.insert(grid.end(), {column / 2 - 1, 0});
      const auto base = static_cast<float>(100 * channel);
      linear.push_back(base + inside);
      near.push_back(base + std::nearbyint(inside));
      // Beyond the edge, the image fades to 0 within one element.
      const float share = std::max(0.0F, 1 - std::abs(column - inside));
      zeros.push_back((base + inside) * share);
    }
  const Inputs inputs{floats({1, 2, 2, kColumns}, image), floats({1, 1, kPoints, 2}, grid)};
  const Shape shape{1, 2, 1, kPoints};
  expect_op(GridSample{.padding = SamplePadding::border, .align_corners = true}, inputs, floats(shape, linear));
  expect_op(GridSample{SampleMode::nearest, SamplePadding::border, true}, inputs, floats(shape, near));
  expect_op(GridSample{.align_corners = true}, inputs, floats(shape, zeros));
}

}  // namespace
}  // namespace bitfold::testing
