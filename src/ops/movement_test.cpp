// Operators that move elements, and Resize.
#include "op_testing.h"

namespace bitfold::testing {
namespace {

constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kHighest = std::numeric_limits<std::int64_t>::max();

TEST(Concat, joins_along_any_axis) {
  const Tensor a = floats({2, 1}, {1, 2}), b = floats({2, 2}, {3, 4, 5, 6});
  expect_op(Concat{1}, {a, b}, floats({2, 3}, {1, 3, 4, 2, 5, 6}));
  expect_op(Concat{-2}, {b, b}, floats({4, 2}, {3, 4, 5, 6, 3, 4, 5, 6}));
  expect_op(Concat{0}, {int64s({1}), int64s({2, 3}), int64s({0}, {})}, int64s({1, 2, 3}));
}

TEST(Split, splits_evenly_or_by_given_sizes) {
  const auto even = run_op(Split{1}, {iota({2, 4})}, 2);
  expect_equal(even[0], floats({2, 2}, {1, 2, 5, 6}));
  expect_equal(even[1], floats({2, 2}, {3, 4, 7, 8}));
  const auto given = run_op(Split{0}, {iota({3}), int64s({1, 2})}, 2);
  expect_equal(given[0], floats({1}, {1}));
  expect_equal(given[1], floats({2}, {2, 3}));
}

TEST(Reshape, keeps_the_order_of_elements) {
  expect_op(Reshape{}, {iota({2, 3}), int64s({0, -1, 1})}, iota({2, 3, 1}));
  expect_op(Flatten{2}, {iota({1, 2, 3})}, iota({2, 3}));
  expect_op(Flatten{0}, {iota({2, 3})}, iota({1, 6}));
  expect_op(Squeeze{}, {iota({1, 2, 1})}, iota({2}));
  expect_op(Squeeze{}, {iota({1, 2, 1}), int64s({-1})}, iota({1, 2}));
  expect_op(Unsqueeze{}, {iota({2}), int64s({0, 2})}, iota({1, 2, 1}));
}

TEST(Transpose, permutes_axes) {
  expect_op(Transpose{{1, 0}}, {iota({2, 3})}, floats({3, 2}, {1, 4, 2, 5, 3, 6}));
  expect_op(Transpose{{0, 2, 3, 1}}, {iota({1, 2, 2, 2})}, floats({1, 2, 2, 2}, {1, 5, 2, 6, 3, 7, 4, 8}));
  expect_op(Transpose{{1, 0}}, {booleans({1, 2}, {1, 0})}, booleans({2, 1}, {1, 0}));
}

TEST(Slice, steps_backward_and_clamps_the_extremes_of_int64) {
  expect_op(Slice{},
            {iota({3, 4}), int64s({kHighest, -3}), int64s({kLowest, kHighest}), int64s({0, 1}), int64s({-2, 2})},
            floats({2, 2}, {10, 12, 2, 4}));
  expect_op(Slice{}, {iota({4}), int64s({1}), int64s({-1})}, floats({2}, {2, 3}));
  expect_op(Slice{}, {iota({4}), int64s({3}), int64s({1})}, floats({0}, {}));
  expect_op(Slice{}, {iota({4}), int64s({-9}), int64s({kLowest}), int64s({0}), int64s({-1})}, floats({1}, {1}));
  expect_op(Slice{}, {iota({4}), int64s({-1}), int64s({kLowest}), int64s({0}), int64s({kLowest})}, floats({1}, {4}));
}

TEST(Gather, accepts_negative_indices_and_gives_the_indices_shape) {
  expect_op(Gather{0}, {iota({3, 2}), int64s({2, 1}, {-1, 0})}, floats({2, 1, 2}, {5, 6, 1, 2}));
  expect_op(Gather{1}, {iota({2, 3}), int64s({}, {1})}, floats({2}, {2, 5}));
  expect_op(Gather{1}, {iota({2, 3, 1}), int64s({4}, {0, 2, 2, -2})}, floats({2, 4, 1}, {1, 3, 3, 2, 4, 6, 6, 5}));
  expect_op(Gather{0}, {iota({3, 0}), int64s({2}, {0, 2})}, floats({2, 0}, {}));
  EXPECT_THROW(run_op(Gather{0}, {iota({3}), int64s({3})}), Error);
  EXPECT_THROW(run_op(Gather{0}, {iota({3}), int64s({-4})}), Error);
}

TEST(ScatterND, writes_rows_and_elements) {
  expect_op(ScatterNd{}, {iota({3, 2}), int64s({2, 1}, {-1, 0}), floats({2, 2}, {10, 20, 30, 40})},
            floats({3, 2}, {30, 40, 3, 4, 10, 20}));
  expect_op(ScatterNd{}, {iota({2, 2}), int64s({1, 2}, {0, 1}), floats({1}, {9})}, floats({2, 2}, {1, 9, 3, 4}));
  expect_op(ScatterNd{}, {booleans({2}, {0, 0}), int64s({1, 1}, {1}), booleans({1}, {1})}, booleans({2}, {0, 1}));
}

TEST(ScatterND, combines_updates_of_one_position) {
  const Inputs inputs{floats({2}, {3, 5}), int64s({2, 1}, {0, 0}), floats({2}, {2, 4})};
  expect_op(ScatterNd{}, inputs, floats({2}, {4, 5}));
  expect_op(ScatterNd{ScatterReduction::add}, inputs, floats({2}, {9, 5}));
  expect_op(ScatterNd{ScatterReduction::mul}, inputs, floats({2}, {24, 5}));
  expect_op(ScatterNd{ScatterReduction::min}, inputs, floats({2}, {2, 5}));
  expect_op(ScatterNd{ScatterReduction::max}, inputs, floats({2}, {4, 5}));
  expect_op(ScatterNd{ScatterReduction::add}, {int64s({1, 2}), int64s({1, 1}, {1}), int64s({1}, {7})}, int64s({1, 9}));
}

TEST(ScatterND, errors_name_the_index_the_shape_and_the_type) {
  EXPECT_EQ(op_message(ScatterNd{}, {iota({3, 2}), int64s({2, 1}, {0, 3}), iota({2, 2})}),
            "[ScatterND 'n'] index 3 of update 1 is outside axis 0 of size 3");
  EXPECT_EQ(op_message(ScatterNd{}, {iota({3, 2}), int64s({2, 1}, {0, 1}), iota({2})}),
            "[ScatterND 'n'] updates have shape 2, expected 2x2");
  EXPECT_EQ(op_message(ScatterNd{}, {iota({3}), int64s({1, 2}, {0, 1}), iota({1})}),
            "[ScatterND 'n'] indices of shape 1x2 cannot address data of shape 3: their last axis is 0 or too long");
  const std::string refusal =
      op_message(ScatterNd{ScatterReduction::add}, {booleans({1}, {0}), int64s({1, 1}, {0}), booleans({1}, {1})});
  EXPECT_TRUE(refusal.starts_with("[ScatterND 'n'] input 'data' is boolean; accepted with a reduction: float32, int8"))
      << refusal;
}

TEST(Pad, has_modes_constant_reflect_and_edge) {
  const Tensor x = iota({2, 3});
  expect_op(Pad{PadMode::reflect}, {x, int64s({0, 2, 1, 1})},
            floats({3, 6}, {3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5, 3, 2, 1, 2, 3, 2}));
  expect_op(Pad{PadMode::edge}, {x, int64s({1, 0, 0, 2})},
            floats({3, 5}, {1, 2, 3, 3, 3, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6}));
  expect_op(Pad{}, {x, int64s({1, 0}), floats({}, {7}), int64s({-1})}, floats({2, 4}, {7, 1, 2, 3, 7, 4, 5, 6}));
  expect_op(Pad{}, {floats({1}, {5}), int64s({1, 1})}, floats({3}, {0, 5, 0}));
}

TEST(Pad, negative_pads_crop_first) {
  expect_op(Pad{}, {iota({2, 3}), int64s({0, -1, 1, 1}), floats({}, {9})}, floats({3, 3}, {2, 3, 9, 5, 6, 9, 9, 9, 9}));
  expect_op(Pad{PadMode::reflect}, {iota({5}), int64s({-1, 2})}, floats({6}, {2, 3, 4, 5, 4, 3}));
  expect_op(Pad{PadMode::edge}, {iota({5}), int64s({2, -2})}, floats({5}, {1, 1, 1, 2, 3}));
}

TEST(Pad, repeats_more_than_the_input_along_several_axes) {
  expect_op(Pad{PadMode::reflect}, {iota({1, 3}), int64s({0, 5, 0, 4})},
            floats({1, 12}, {2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3}));
  expect_op(Pad{PadMode::edge}, {iota({2, 1, 2}), int64s({1, 2, 0, 0, 0, 1})},
            floats({3, 3, 3}, {1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 3, 4, 4, 3, 4, 4, 3, 4, 4}));
  expect_op(Pad{PadMode::wrap}, {iota({2, 2}), int64s({1, 3, 0, 0})},
            floats({3, 5}, {4, 3, 4, 3, 4, 2, 1, 2, 1, 2, 4, 3, 4, 3, 4}));
  expect_op(Pad{PadMode::edge}, {iota({2}), int64s({0, 0})}, iota({2}));
}

TEST(Expand, repeats_axes_of_one) {
  expect_op(Expand{}, {floats({2, 1}, {1, 2}), int64s({2, 1, 3})},
            floats({2, 2, 3}, {1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2}));
  expect_op(Expand{}, {floats({3}, {1, 2, 3}), int64s({1})}, floats({3}, {1, 2, 3}));
}

TEST(Tile, repeats_the_whole_tensor) {
  expect_op(Tile{}, {iota({2, 2}), int64s({2, 2})}, floats({4, 4}, {1, 2, 1, 2, 3, 4, 3, 4, 1, 2, 1, 2, 3, 4, 3, 4}));
  expect_op(Tile{}, {iota({2}), int64s({0})}, floats({0}, {}));
}

TEST(ShapeOf, returns_a_range_of_dimensions) {
  const Tensor x = iota({2, 3, 4});
  expect_op(ShapeOf{}, {x}, int64s({2, 3, 4}));
  expect_op(ShapeOf{-2, -1}, {x}, int64s({3}));
}

TEST(ConstantOfShape, fills_with_its_value) {
  expect_op(ConstantOfShape{int64s({7})}, {int64s({2, 1})}, int64s({2, 1}, {7, 7}));
  expect_op(ConstantOfShape{floats({1}, {0.5F})}, {int64s({0}, {})}, floats({}, {0.5F}));
}

TEST(Range, counts_up_and_down) {
  expect_op(Range{}, {int64s({}, {5}), int64s({}, {-1}), int64s({}, {-2})}, int64s({5, 3, 1}));
  expect_op(Range{}, {floats({}, {0}), floats({}, {1}), floats({}, {0.3F})}, floats({4}, {0, 0.3F, 0.6F, 0.9F}));
  expect_op(Range{}, {floats({}, {0}), floats({}, {1}), floats({}, {-1})}, floats({0}, {}));
}

TEST(Cast, truncates_toward_zero_and_saturates) {
  expect_op(Cast{DataType::int64}, {floats({5}, {-1.5F, 2.7F, 3e10F, kNan, 1e30F})},
            int64s({-1, 2, 30000001024, 0, kHighest}));
  expect_op(Cast{DataType::boolean}, {floats({3}, {0, 0.5F, -1})}, booleans({3}, {0, 1, 1}));
  expect_op(Cast{DataType::float32}, {booleans({2}, {0, 1})}, floats({2}, {0, 1}));
  expect_op(Cast{DataType::float32}, {int64s({-3, 4})}, floats({2}, {-3, 4}));
}

TEST(DepthToSpace, reads_channels_in_both_orders) {
  expect_op(DepthToSpace{2, false}, {iota({1, 8, 1, 2})},
            floats({1, 2, 2, 4}, {1, 5, 2, 6, 9, 13, 10, 14, 3, 7, 4, 8, 11, 15, 12, 16}));
  expect_op(DepthToSpace{2, true}, {iota({1, 8, 1, 2})},
            floats({1, 2, 2, 4}, {1, 3, 2, 4, 5, 7, 6, 8, 9, 11, 10, 12, 13, 15, 14, 16}));
}

struct ResizeCase {
  ResizeMode mode;
  ResizeCoordinates coordinates;
  std::vector<float> up, down;  // 1 2 3 4, resized to seven and to three elements
};

TEST(Resize, modes_and_coordinates_give_onnx_values) {
  using M = ResizeMode;
  using C = ResizeCoordinates;
  const std::vector<float> linear_up{1, 1.35714293F, 1.92857146F, 2.5F, 3.07142854F, 3.64285707F, 4};
  const std::vector<float> linear_down{1.16666675F, 2.5F, 3.83333325F};
  const std::vector<float> cubic_up{0.900783777F, 1.27924562F, 1.8965919F, 2.5F, 3.10340738F, 3.7207551F, 4.09921455F};
  const std::vector<float> cubic_down{1.12615752F, 2.5F, 3.87384319F};
  const std::vector<ResizeCase> cases{
      {M::nearest, C::half_pixel, {1, 1, 2, 2, 3, 4, 4}, {1, 2, 4}},
      {M::nearest, C::asymmetric, {1, 2, 2, 3, 3, 4, 4}, {1, 2, 4}},
      {M::nearest, C::align_corners, {1, 1, 2, 2, 3, 3, 4}, {1, 2, 4}},
      {M::nearest, C::pytorch_half_pixel, {1, 1, 2, 2, 3, 4, 4}, {1, 2, 4}},
      {M::linear, C::half_pixel, linear_up, linear_down},
      {M::linear, C::pytorch_half_pixel, linear_up, linear_down},
      {M::linear,
       C::asymmetric,
       {1, 1.57142854F, 2.14285707F, 2.71428561F, 3.28571439F, 3.85714293F, 4},
       {1, 2.33333349F, 3.66666675F}},
      {M::linear, C::align_corners, {1, 1.5F, 2, 2.5F, 3, 3.5F, 4}, {1, 2.5F, 4}},
      {M::cubic, C::half_pixel, cubic_up, cubic_down},
      {M::cubic, C::pytorch_half_pixel, cubic_up, cubic_down},
      {M::cubic,
       C::asymmetric,
       {1, 1.47521889F, 2.18658948F, 2.67055368F, 3.37317848F, 3.89212751F, 4.10495663F},
       {1, 2.37036943F, 3.74074125F}},
      {M::cubic, C::align_corners, {1, 1.40625F, 2, 2.5F, 3, 3.59375F, 4}, {1, 2.5F, 4}}};
  for (const ResizeCase& c : cases) {
    SCOPED_TRACE(::testing::Message() << "mode " << static_cast<int>(c.mode) << " coordinates "
                                      << static_cast<int>(c.coordinates));
    const Resize op{c.mode, c.coordinates};
    expect_op(op, {iota({1, 1, 1, 4}), std::nullopt, std::nullopt, int64s({1, 1, 1, 7})}, floats({1, 1, 1, 7}, c.up));
    expect_op(op, {iota({1, 1, 1, 4}), std::nullopt, std::nullopt, int64s({1, 1, 1, 3})}, floats({1, 1, 1, 3}, c.down));
  }
}

TEST(Resize, nearest_modes_differ_at_ties) {
  using N = ResizeNearest;
  const auto expect = [](N nearest, const std::vector<float>& twice, const std::vector<float>& half) {
    const Tensor x = iota({1, 1, 1, 4});
    expect_op(Resize{ResizeMode::nearest, ResizeCoordinates::asymmetric, nearest},
              {x, std::nullopt, floats({4}, {1, 1, 1, 2})}, floats({1, 1, 1, 8}, twice));
    expect_op(Resize{ResizeMode::nearest, ResizeCoordinates::half_pixel, nearest},
              {x, std::nullopt, floats({4}, {1, 1, 1, 0.5F})}, floats({1, 1, 1, 2}, half));
  };
  expect(N::round_prefer_floor, {1, 1, 2, 2, 3, 3, 4, 4}, {1, 3});
  expect(N::round_prefer_ceil, {1, 2, 2, 3, 3, 4, 4, 4}, {2, 4});
  expect(N::floor, {1, 1, 2, 2, 3, 3, 4, 4}, {1, 3});
  expect(N::ceil, {1, 2, 2, 3, 3, 4, 4, 4}, {2, 4});
}

TEST(Resize, interpolates_two_axes_with_the_scales_given) {
  expect_op(Resize{ResizeMode::linear}, {floats({1, 1, 2, 2}, {1, 2, 3, 4}), std::nullopt, floats({4}, {1, 1, 2, 2})},
            floats({1, 1, 4, 4},
                   {1, 1.25F, 1.75F, 2, 1.5F, 1.75F, 2.25F, 2.5F, 2.5F, 2.75F, 3.25F, 3.5F, 3, 3.25F, 3.75F, 4}));
  // 0.7 of 5 is 3.5: three elements, placed by the scale 0.7 and not by 3 / 5.
  expect_op(Resize{ResizeMode::linear}, {iota({1, 1, 1, 5}), std::nullopt, floats({4}, {1, 1, 1, 0.7F})},
            floats({1, 1, 1, 3}, {1.21428573F, 2.64285707F, 4.0714283F}));
  expect_op(Resize{ResizeMode::cubic}, {iota({1, 1, 4, 4}), std::nullopt, floats({4}, {1, 1, 0.8F, 0.8F})},
            floats({1, 1, 3, 3}, {1.47119141F, 2.78125F, 4.08251953F, 6.71142578F, 8.02148438F, 9.32275391F,
                                  11.9165039F, 13.2265625F, 14.5278311F}));
  Resize sharper{ResizeMode::cubic};
  sharper.cubic_coeff_a = -0.5F;
  expect_op(sharper, {iota({1, 1, 1, 4}), std::nullopt, floats({4}, {1, 1, 1, 1.5F})},
            floats({1, 1, 1, 6}, {0.94212985F, 1.4375F, 2.16666579F, 2.83333302F, 3.5625F, 4.05786991F}));
}

TEST(Resize, reproduces_a_linear_function_along_any_axes) {
  // Between its corners, linear and cubic interpolation reproduce f(i, j, k) = i + 10 j + 100 k.
  const auto ramp = [](const Shape& shape, const std::vector<float>& steps) {
    Tensor t(DataType::float32, shape);
    float* x = t.mutable_data<float>().data();
    for (std::int64_t i = 0; i < shape[0]; ++i)
      for (std::int64_t j = 0; j < shape[1]; ++j)
        for (std::int64_t k = 0; k < shape[2]; ++k)
          *x++ = static_cast<float>(i) * steps[0] + static_cast<float>(j) * 10 * steps[1] +
                 static_cast<float>(k) * 100 * steps[2];
    return t;
  };
  const Shape from{3, 5, 10};
  for (const Shape& to : {Shape{5, 5, 10}, Shape{3, 9, 10}, Shape{3, 5, 19}, Shape{5, 9, 10}, Shape{5, 5, 19},
                          Shape{3, 9, 19}, Shape{5, 9, 19}, Shape{2, 3, 4}}) {
    std::vector<float> steps;
    for (std::size_t i = 0; i < 3; ++i)
      steps.push_back(static_cast<float>(from[i] - 1) / static_cast<float>(to[i] - 1));
    expect_op(Resize{ResizeMode::linear, ResizeCoordinates::align_corners},
              {ramp(from, {1, 1, 1}), std::nullopt, std::nullopt, int64s({to[0], to[1], to[2]})}, ramp(to, steps));
  }
}

TEST(Resize, repeats_integers_exactly_and_truncates_interpolated_ones) {
  const Tensor x = Tensor::from<std::uint8_t>({2, 3}, {1, 2, 3, 4, 5, 255});
  expect_op(Resize{ResizeMode::nearest}, {x, std::nullopt, floats({2}, {2, 3})},
            Tensor::from<std::uint8_t>({4, 9}, {1, 1, 1, 2, 2, 2, 3,   3,   3,   1, 1, 1, 2, 2, 2, 3,   3,   3,
                                                4, 4, 4, 5, 5, 5, 255, 255, 255, 4, 4, 4, 5, 5, 5, 255, 255, 255}));
  expect_op(Resize{ResizeMode::linear}, {x, std::nullopt, floats({2}, {1, 2})},
            Tensor::from<std::uint8_t>({2, 6}, {1, 1, 1, 2, 2, 3, 4, 4, 4, 67, 192, 255}));
  expect_op(Resize{ResizeMode::cubic},
            {Tensor::from<std::int8_t>({4}, {-128, 127, -128, 127}), std::nullopt, floats({1}, {1})},
            Tensor::from<std::int8_t>({4}, {-128, 127, -128, 127}));
}

TEST(Resize, gives_the_extrapolation_value_outside_the_region) {
  Resize crop{ResizeMode::linear, ResizeCoordinates::tf_crop_and_resize};
  crop.extrapolation_value = -1;
  const Inputs inputs{iota({2, 3}), floats({4}, {0, -0.5F, 1, 1}), std::nullopt, int64s({2, 4})};
  expect_op(crop, inputs, floats({2, 4}, {-1, 1, 2, 3, -1, 4, 5, 6}));
  crop.mode = ResizeMode::nearest;
  expect_op(crop, inputs, floats({2, 4}, {-1, 1, 2, 3, -1, 4, 5, 6}));
}

}  // namespace
}  // namespace bitfold::testing
