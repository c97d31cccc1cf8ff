// The figures of the quantization notebook that this project began with: its 4x4 tensor, codes and dequantized values.
// Where it is right, Bitfold's grids give the printed digits; where it is wrong, the differences are as stated.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitfold/affine.h"

namespace bitfold {
namespace {

const std::vector<float> kX{-2.2066F, 0.3966F,  0.5587F, 1.1892F,  0.3932F, 1.6257F, -0.6623F, -0.0903F,
                            -0.8323F, -0.0078F, 1.2867F, -0.1683F, 3.2285F, 1.6256F, 0.6275F,  -1.0032F};
constexpr float kMin = -2.2066F, kMax = 3.2285F;

Tensor x_f() { return Tensor::from<float>({4, 4}, kX); }

// Equal when printed with four decimals.
void expect_printed(const Tensor& x, const std::vector<double>& expected) {
  const auto values = x.data<float>();
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(std::llround(double{values[i]} * 1e4), std::llround(expected[i] * 1e4)) << "element " << i;
}

TEST(Notebook, asymmetric_8_bits_has_its_scale_and_an_integer_zero_point) {
  const QuantParams p = choose_params(kMin, kMax, {.bits = 8});
  EXPECT_EQ(std::llround(double{p.scale[0]} * 1e4), 213);  // tensor(0.0213)
  // Its cell 5 shows 103.5259 as the code of -0.0078, and so of 0: a zero_point between two codes, with 0 off the grid.
  EXPECT_NEAR(-double{kMin} / p.scale[0], 103.5259, 0.003);
  EXPECT_EQ(p.zero_point[0], 104);
  const std::vector<std::uint8_t> codes{0, 123, 130, 160, 122, 180, 73, 100, 65, 104, 164, 96, 255, 180, 133, 57};
  EXPECT_EQ(quantize(x_f(), p), Tensor::from<std::uint8_t>({4, 4}, codes));
}

// x_f is printed to four decimals, but the notebook's scale was computed from more digits: its 103.5259 = 2.2066 /
// scale and 0.8312 = 39 scale imply [0.021314, 0.0213141), while the printed extremes would give 0.02131412.
constexpr float kNotebookScale = 0.02131405F;

// Its dequantized values are (round(x / scale) + zp - zp) * scale. The fractional zero_point cancels except at the
// minimum, which the clamp to 0 moves by the fraction, from -2.2167 to -2.2066.
TEST(Notebook, the_notebooks_asymmetric_scale_gives_its_values) {
  const QuantParams p{.scale = {kNotebookScale}, .zero_point = {104}, .bits = 8};
  expect_printed(snap(x_f(), p), {-2.2167, 0.4050, 0.5542, 1.1936, 0.3837, 1.6199, -0.6607, -0.0853,  //
                                  -0.8312, 0.0000, 1.2788, -0.1705, 3.2184, 1.6199, 0.6181, -1.0018});
}

// Cell 10: zero_point 0, codes [-128, 127].
TEST(Notebook, the_notebooks_symmetric_grid_gives_its_codes_and_values) {
  const std::vector<std::int8_t> codes{-104, 19, 26, 56, 18, 76, -31, -4, -39, 0, 60, -8, 127, 76, 29, -47};
  for (float scale : {(kMax - kMin) / 255, kNotebookScale}) {
    const QuantParams p{.scale = {scale}, .zero_point = {0}, .bits = 8, .is_signed = true};
    EXPECT_EQ(quantize(x_f(), p), Tensor::from<std::int8_t>({4, 4}, codes));
  }
  const QuantParams p{.scale = {kNotebookScale}, .zero_point = {0}, .bits = 8, .is_signed = true};
  expect_printed(snap(x_f(), p), {-2.2167, 0.4050, 0.5542, 1.1936, 0.3837, 1.6199, -0.6607, -0.0853,  //
                                  -0.8312, 0.0000, 1.2788, -0.1705, 2.7069, 1.6199, 0.6181, -1.0018});
}

TEST(Notebook, bitfolds_symmetric_grid_does_not_clip_the_maximum) {
  const QuantParams p = choose_params(kMin, kMax, {.bits = 8, .is_signed = true, .scheme = Scheme::symmetric});
  EXPECT_EQ(p.scale[0], static_cast<float>(double{kMax} / 127));
  const Tensor snapped = snap(x_f(), p);
  for (std::size_t i = 0; i < kX.size(); ++i)
    EXPECT_NEAR(snapped.data<float>()[i], kX[i], p.scale[0] * 0.5001F) << "element " << i;
  EXPECT_FLOAT_EQ(snapped.data<float>()[12], kMax);  // the notebook: 2.7069
}

// `int(q_min - x_min / scale)` truncates 103.53 to 103; the maximum then needs code 254, and the minimum -1, which is
// clipped.
TEST(Notebook, truncating_the_zero_point_clips_the_minimum) {
  const QuantParams cut{.scale = {(kMax - kMin) / 255}, .zero_point = {103}, .bits = 8};
  expect_printed(snap(Tensor::from<float>({1}, std::vector<float>{kMin}), cut), {-2.1954});
  expect_printed(snap(Tensor::from<float>({1}, std::vector<float>{kMin}), choose_params(kMin, kMax, {.bits = 8})),
                 {-2.2167});
}

}  // namespace
}  // namespace bitfold
