#include "bitfold/affine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "bitfold/error.h"
#include "error_testing.h"

namespace bitfold {
namespace {

using testing::message_of;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kSmallestNormal = std::numeric_limits<float>::min();

QuantParams grid(float scale, std::int32_t zero_point, int bits, bool is_signed) {
  return {.scale = {scale}, .zero_point = {zero_point}, .bits = bits, .is_signed = is_signed};
}

Tensor vector_of(const std::vector<float>& values) {
  return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, values);
}

template <class T>
std::vector<T> elements(const Tensor& t) {
  const auto data = t.data<T>();
  return {data.begin(), data.end()};
}

TEST(QuantParams, codes_of_n_bits_have_the_documented_range) {
  for (int bits = 2; bits <= 16; ++bits) {
    const QuantParams u{.bits = bits, .is_signed = false}, s{.bits = bits, .is_signed = true};
    const QuantParams narrow{.bits = bits, .is_signed = true, .narrow = true};
    EXPECT_EQ(u.qmin(), 0);
    EXPECT_EQ(u.qmax(), (1 << bits) - 1);
    EXPECT_EQ(s.qmin(), -(1 << (bits - 1)));
    EXPECT_EQ(s.qmax(), (1 << (bits - 1)) - 1);
    EXPECT_EQ(narrow.qmin(), -narrow.qmax());
    EXPECT_EQ(u.storage(), bits <= 8 ? DataType::uint8 : DataType::uint16);
    EXPECT_EQ(s.storage(), bits <= 8 ? DataType::int8 : DataType::int16);
  }
  const QuantParams bias{.bits = 32, .is_signed = true};
  EXPECT_EQ(bias.qmin(), std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(bias.qmax(), std::numeric_limits<std::int32_t>::max());
  EXPECT_EQ(bias.storage(), DataType::int32);
}

TEST(QuantParams, refuses_unsupported_bit_widths) {
  for (int bits : {-1, 0, 1, 17, 31, 33}) {
    EXPECT_THROW((void)QuantParams{.bits = bits}.qmax(), Error) << bits;
    EXPECT_THROW((void)QuantParams{.bits = bits}.storage(), Error) << bits;
    EXPECT_THROW(choose_params(0, 1, {.bits = bits}), Error) << bits;
  }
}

TEST(QuantParams, an_empty_grid_is_refused) {
  const Tensor x = Tensor::from<float>({2}, std::vector<float>{1, 2});
  const std::string expected = "there are 0 scales and 0 zero_points for 1 channels (axis -1 of shape 2)";
  EXPECT_EQ(message_of([&] { quantize(x, {}); }), expected);
  EXPECT_EQ(message_of([&] { snap(x, {}); }), expected);
  EXPECT_EQ(message_of([&] { dequantize(Tensor(DataType::uint8, {2}), {}); }), expected);
}

TEST(Words, printed_words_can_be_parsed) {
  for (Scheme s : {Scheme::symmetric, Scheme::asymmetric}) EXPECT_EQ(parse_scheme(to_string(s)), s);
  for (Granularity g : {Granularity::per_tensor, Granularity::per_channel})
    EXPECT_EQ(parse_granularity(to_string(g)), g);
  EXPECT_EQ(message_of([] { parse_scheme("affine"); }), "scheme 'affine': expected symmetric or asymmetric");
  EXPECT_EQ(message_of([] { parse_granularity(""); }), "granularity '': expected per_tensor or per_channel");
}

TEST(ChooseParams, asymmetric_spans_the_range_with_zero_on_the_grid) {
  const QuantParams p = choose_params(-1, 3, {});
  EXPECT_EQ(p.scale, std::vector<float>{static_cast<float>(4.0 / 255)});
  EXPECT_EQ(p.zero_point, std::vector<std::int32_t>{64});  // 63.75
  EXPECT_FALSE(p.narrow);
  EXPECT_FALSE(p.per_channel());
  EXPECT_EQ(choose_params(-1, 3, {.is_signed = true}).zero_point[0], 64 - 128);
}

TEST(ChooseParams, widens_a_range_on_one_side_of_zero) {
  const QuantParams positive = choose_params(2, 5.1F, {}), negative = choose_params(-5.1F, -2, {});
  EXPECT_EQ(positive.scale[0], static_cast<float>(double{5.1F} / 255));
  EXPECT_EQ(positive.zero_point[0], 0);
  EXPECT_EQ(negative.scale[0], positive.scale[0]);
  EXPECT_EQ(negative.zero_point[0], 255);
}

TEST(ChooseParams, symmetric_signed_is_narrow_and_centred) {
  const QuantParams p = choose_params(-2.54F, 1, {.is_signed = true, .scheme = Scheme::symmetric});
  EXPECT_EQ(p.scale[0], static_cast<float>(double{2.54F} / 127));
  EXPECT_EQ(p.zero_point[0], 0);
  EXPECT_TRUE(p.narrow);
  EXPECT_EQ(p.qmin(), -127);
}

TEST(ChooseParams, symmetric_unsigned_has_the_middle_code_and_clips_nothing) {
  const QuantParams p = choose_params(-1, 1.27F, {.scheme = Scheme::symmetric});
  EXPECT_EQ(p.zero_point[0], 128);
  EXPECT_EQ(p.scale[0], static_cast<float>(double{1.27F} / 127));
  EXPECT_EQ(elements<std::uint8_t>(quantize(vector_of({1.27F, 0, -1.27F}), p)),
            (std::vector<std::uint8_t>{255, 128, 1}));
}

TEST(ChooseParams, a_range_of_zero_width_gets_scale_one) {
  for (bool is_signed : {false, true})
    for (Scheme scheme : {Scheme::symmetric, Scheme::asymmetric}) {
      const QuantParams p = choose_params(0, 0, {.is_signed = is_signed, .scheme = scheme});
      EXPECT_EQ(p.scale[0], 1);
      EXPECT_EQ(elements<float>(snap(vector_of({0, 0}), p)), (std::vector<float>{0, 0}));
    }
}

TEST(ChooseParams, a_constant_tensor_is_represented_to_half_a_step) {
  for (float value : {5.0F, -0.3F, 1e-42F, 3e38F}) {
    const QuantParams p = choose_params(value, value, {});
    EXPECT_NEAR(snap(vector_of({value}), p).data<float>()[0], value, p.scale[0] / 2) << value;
  }
}

TEST(ChooseParams, subnormal_ranges_get_the_smallest_normal_scale) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (Scheme scheme : {Scheme::symmetric, Scheme::asymmetric}) {
    const QuantParams p = choose_params(-tiny, 2 * tiny, {.is_signed = true, .scheme = scheme});
    EXPECT_EQ(p.scale[0], kSmallestNormal);
    EXPECT_EQ(elements<float>(snap(vector_of({tiny, 0}), p)), (std::vector<float>{0, 0}));
  }
}

TEST(ChooseParams, the_widest_range_does_not_overflow) {
  const float most = std::numeric_limits<float>::max();
  for (int bits : {2, 8, 16}) {
    const QuantParams p = choose_params(-most, most, {.bits = bits});
    EXPECT_TRUE(std::isfinite(p.scale[0])) << bits;
    EXPECT_NEAR(p.zero_point[0], (1 << (bits - 1)) - 0.5, 0.5) << bits;
  }
}

// Invariant 2, and the purpose of a grid: nothing in the range is farther than half a step from it. A tie in rounding
// the zero_point may add another half step at the maximum.
TEST(ChooseParams, covers_the_range_at_any_bits) {
  std::mt19937 random(2);
  std::uniform_real_distribution<float> exponent(-120, 120), unit(-1, 1);
  for (int i = 0; i < 20000; ++i) {
    const float a = std::exp2(exponent(random)) * unit(random), b = a * unit(random) * 4;
    const float min = std::min(a, b), max = std::max(a, b);
    const GridSpec spec{
        .bits = 2 + i % 15, .is_signed = i % 2 == 0, .scheme = i % 3 == 0 ? Scheme::symmetric : Scheme::asymmetric};
    const QuantParams p = choose_params(min, max, spec);
    ASSERT_GE(p.zero_point[0], p.qmin());
    ASSERT_LE(p.zero_point[0], p.qmax());
    const auto snapped = elements<float>(snap(vector_of({min, max, 0}), p));
    ASSERT_NEAR(snapped[0] / p.scale[0], min / p.scale[0], 0.51) << min << " " << max << " bits " << spec.bits;
    ASSERT_NEAR(snapped[1] / p.scale[0], max / p.scale[0], 0.51) << min << " " << max << " bits " << spec.bits;
    ASSERT_EQ(snapped[2], 0);
  }
}

TEST(ChooseParams, refuses_invalid_ranges) {
  EXPECT_EQ(message_of([] { choose_params(kNan, 1, {}); }), "range [nan, 1]: both bounds must be finite");
  EXPECT_EQ(message_of([] { choose_params(0, kInfinity, {}); }), "range [0, inf]: both bounds must be finite");
  EXPECT_EQ(message_of([] { choose_params(2, 1, {}); }), "range [2, 1]: the minimum is above the maximum");
}

TEST(ChooseParamsPerChannel, each_channel_gets_a_grid_for_its_own_range) {
  const Tensor x = Tensor::from<float>({2, 3, 2}, std::vector<float>{1, 2, 0, 0, -4, 1,  //
                                                                     -3, 0, 0, 0, 8, 2});
  const GridSpec spec{.is_signed = true, .scheme = Scheme::symmetric};
  const QuantParams p = choose_params_per_channel(x, 1, spec);
  EXPECT_EQ(p.axis, 1);
  ASSERT_EQ(p.scale.size(), 3U);
  EXPECT_EQ(p.scale[0], choose_params(-3, 2, spec).scale[0]);
  EXPECT_EQ(p.scale[1], 1);
  EXPECT_EQ(p.scale[2], choose_params(-4, 8, spec).scale[0]);
  EXPECT_EQ(p.zero_point, (std::vector<std::int32_t>{0, 0, 0}));
  EXPECT_EQ(elements<std::int8_t>(quantize(x, p)), (std::vector<std::int8_t>{42, 85, 0, 0, -64, 16,  //
                                                                             -127, 0, 0, 0, 127, 32}));
}

TEST(ChooseParamsPerChannel, names_the_first_element_that_is_not_finite) {
  const Tensor x = Tensor::from<float>({2, 2}, std::vector<float>{0, 1, kNan, kInfinity});
  EXPECT_EQ(message_of([&] { choose_params_per_channel(x, 1, {}); }),
            "element 2 (at [1, 0]) of 2x2 is nan; quantization needs finite numbers");
  EXPECT_EQ(message_of([&] { choose_params_per_channel(x, 2, {}); }), "axis 2 does not exist in a tensor of shape 2x2");
}

TEST(Quantize, rounds_half_to_even) {
  const Tensor x = vector_of({0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 1.25F, 1.75F});
  EXPECT_EQ(elements<std::int8_t>(quantize(x, grid(1, 0, 8, true))),
            (std::vector<std::int8_t>{0, 2, 2, 0, -2, -2, 1, 2}));
  // Ties are resolved before the zero_point is added.
  EXPECT_EQ(elements<std::uint8_t>(quantize(x, grid(1, 7, 8, false))),
            (std::vector<std::uint8_t>{7, 9, 9, 7, 5, 5, 8, 9}));
}

TEST(Quantize, saturates_at_the_ends_of_n_bits) {
  const float most = std::numeric_limits<float>::max();
  const Tensor x = vector_of({most, -most, 1e10F, -1e10F});
  for (int bits : {2, 4, 5, 8})
    for (bool is_signed : {false, true}) {
      const QuantParams p = grid(0.5F, 1, bits, is_signed);
      const auto real = elements<float>(dequantize(quantize(x, p), p));
      const float high = static_cast<float>(p.qmax() - 1) / 2, low = static_cast<float>(p.qmin() - 1) / 2;
      EXPECT_EQ(real, (std::vector<float>{high, low, high, low}));
    }
  EXPECT_EQ(elements<std::uint16_t>(quantize(x, grid(kSmallestNormal, 9, 16, false))),
            (std::vector<std::uint16_t>{65535, 0, 65535, 0}));
}

TEST(Quantize, narrow_grids_exclude_the_lowest_code) {
  QuantParams p = grid(1, 0, 8, true);
  EXPECT_EQ(quantize(vector_of({-300}), p).data<std::int8_t>()[0], -128);
  p.narrow = true;
  EXPECT_EQ(quantize(vector_of({-300}), p).data<std::int8_t>()[0], -127);
}

// Products with a rounded reciprocal would end on the other side of some ties.
TEST(Quantize, divides_instead_of_multiplying_by_the_reciprocal) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> scales(0.001F, 2), steps(-128, 127);
  int reciprocal_differs = 0;
  for (int i = 0; i < 100000; ++i) {
    const float scale = scales(random), x = (std::floor(steps(random)) + 0.5F) * scale;
    const float quotient = x / scale;
    reciprocal_differs += std::nearbyint(quotient) != std::nearbyint(x * (1 / scale)) ? 1 : 0;
    const float expected = std::min(127.0F, std::max(-128.0F, std::nearbyint(quotient)));
    ASSERT_EQ(quantize(vector_of({x}), grid(scale, 0, 8, true)).data<std::int8_t>()[0], expected);
  }
  EXPECT_GT(reciprocal_differs, 0);  // otherwise this test would not distinguish the two
}

TEST(Quantize, biases_have_32_bits) {
  const QuantParams p = grid(0.5F, 0, 32, true);
  const Tensor x = vector_of({0.25F, 0.75F, -1e20F, 1e20F, 8388607.5F});
  const std::vector<std::int32_t> codes{0, 2, std::numeric_limits<std::int32_t>::min(),
                                        std::numeric_limits<std::int32_t>::max(), 16777215};
  EXPECT_EQ(elements<std::int32_t>(quantize(x, p)), codes);
  EXPECT_EQ(elements<float>(dequantize(quantize(x, p), p)),
            (std::vector<float>{0, 1, -1073741824, 1073741824, 8388607.5F}));
  EXPECT_EQ(snap(x, p), dequantize(quantize(x, p), p));
}

TEST(Quantize, names_the_first_element_that_is_not_finite) {
  const Tensor x = Tensor::from<float>({1, 2, 2}, std::vector<float>{0, 1, 2, -kInfinity});
  const std::string message = "element 3 (at [0, 1, 1]) of 1x2x2 is -inf; quantization needs finite numbers";
  EXPECT_EQ(message_of([&] { quantize(x, grid(1, 0, 8, true)); }), message);
  EXPECT_EQ(message_of([&] {
              snap(vector_of({0, kNan}), grid(1, 0, 8, true));
            }),
            "element 1 (at [1]) of 2 is nan; quantization needs finite numbers");
}

TEST(Snap, saturates_infinities) {
  EXPECT_EQ(snap(vector_of({-kInfinity, 1, kInfinity}), grid(0.5F, 10, 8, false)), vector_of({-5, 1, 122.5F}));
}

TEST(Quantize, refuses_grids_that_do_not_fit) {
  const Tensor x = vector_of({1, 2, 3});
  const auto refused = [&](const QuantParams& p) { return message_of([&] { quantize(x, p); }); };
  EXPECT_EQ(refused(grid(0, 0, 8, true)), "scale 0: must be positive and finite");
  EXPECT_EQ(refused(grid(kNan, 0, 8, true)), "scale nan: must be positive and finite");
  EXPECT_EQ(refused(grid(1, 256, 8, false)), "zero_point 256: must be in [0, 255]");
  EXPECT_EQ(refused({.scale = {1, 1}, .zero_point = {0, 0}, .axis = 0}),
            "there are 2 scales and 2 zero_points for 3 channels (axis 0 of shape 3)");
  EXPECT_EQ(refused({.scale = {1}, .zero_point = {0}, .axis = 1}), "axis 1 does not exist in a tensor of shape 3");
  EXPECT_EQ(message_of([&] { dequantize(Tensor(DataType::int8, {3}), grid(1, 0, 8, false)); }),
            "codes have type int8, but the grid needs uint8");
}

TEST(Quantize, keeps_empty_and_scalar_tensors) {
  EXPECT_EQ(quantize(Tensor(), grid(1, 0, 8, true)).shape(), Shape{0});
  const Tensor scalar = Tensor::from<float>({}, std::vector<float>{3});
  EXPECT_EQ(quantize(scalar, grid(1, 0, 8, true)).data<std::int8_t>()[0], 3);
}

TEST(Snap, equals_dequantize_of_quantize) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> values(2 * 3 * 50);
  for (float& v : values) v = normal(random);
  const Tensor x = Tensor::from<float>({2, 3, 50}, values);
  for (int bits = 2; bits <= 16; ++bits)
    for (bool is_signed : {false, true}) {
      const QuantParams tensor = choose_params(-4, 2, {.bits = bits, .is_signed = is_signed});
      const QuantParams channel = choose_params_per_channel(x, 1, {.bits = bits, .is_signed = is_signed});
      EXPECT_EQ(snap(x, tensor), dequantize(quantize(x, tensor), tensor));
      EXPECT_EQ(snap(x, channel), dequantize(quantize(x, channel), channel));
      EXPECT_EQ(snap(snap(x, channel), channel), snap(x, channel));  // points of the grid stay unchanged
    }
}

// x is [2, 5, 2]; blocks of 2 along axis 1 give scales [2, 3, 2], the last block with one element.
QuantParams blocked_grid() {
  QuantParams p{.bits = 4, .is_signed = true, .axis = 1, .block_size = 2};
  for (int i = 0; i < 12; ++i) {
    p.scale.push_back(std::ldexp(1.0F, i - 6));
    p.zero_point.push_back(i % 3 - 1);
  }
  return p;
}

TEST(Blocks, scales_are_in_row_major_order) {
  const QuantParams p = blocked_grid();
  EXPECT_EQ(p.grid_shape({2, 5, 2}), (Shape{2, 3, 2}));
  Tensor codes(DataType::int8, {2, 5, 2});
  for (std::size_t i = 0; i < 20; ++i) codes.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(i % 15) - 7;
  const Tensor reals = dequantize(codes, p);
  for (std::size_t a = 0, i = 0; a < 2; ++a)
    for (std::size_t b = 0; b < 5; ++b)
      for (std::size_t c = 0; c < 2; ++c, ++i) {
        const std::size_t block = (a * 3 + b / 2) * 2 + c;
        const int steps = codes.data<std::int8_t>()[i] - p.zero_point[block];
        EXPECT_EQ(reals.data<float>()[i], static_cast<float>(steps) * p.scale[block]) << i;
      }
  EXPECT_EQ(quantize(reals, p), codes);
  EXPECT_EQ(snap(reals, p), reals);
  EXPECT_EQ(dequantize(pack(codes, 4), p), reals);
}

TEST(Blocks, each_grid_is_chosen_from_the_extremes_of_its_block) {
  Tensor x(DataType::float32, {3, 7});
  for (std::size_t i = 0; i < 21; ++i) x.mutable_data<float>()[i] = static_cast<float>(i * i) - 30;
  for (const int axis : {0, 1}) {
    const GridSpec spec{.bits = 4, .is_signed = true};
    const QuantParams p = choose_params_per_block(x, axis, 3, spec);
    const Shape blocks = p.grid_shape(x.shape());
    EXPECT_EQ(blocks, axis == 0 ? (Shape{1, 7}) : (Shape{3, 3}));
    ASSERT_EQ(std::ssize(p.scale), element_count(blocks));
    for (std::size_t r = 0; r < 3; ++r)
      for (std::size_t c = 0; c < 7; ++c) {
        float min = 0, max = 0;
        for (std::size_t i = 0; i < 3; ++i)
          for (std::size_t j = 0; j < 7; ++j) {
            const bool is_in_block = axis == 0 ? j == c : i == r && j / 3 == c / 3;
            const float v = x.data<float>()[i * 7 + j];
            if (is_in_block) min = std::min(min, v), max = std::max(max, v);
          }
        const QuantParams expected = choose_params(min, max, spec);
        const std::size_t at = axis == 0 ? c : r * 3 + c / 3;
        EXPECT_EQ(p.scale[at], expected.scale[0]);
        EXPECT_EQ(p.zero_point[at], expected.zero_point[0]);
      }
    EXPECT_EQ(snap(x, p), dequantize(quantize(x, p), p));
  }
}

TEST(Blocks, blocks_that_do_not_fit_are_errors) {
  const Tensor x(DataType::float32, {2, 5, 2});
  QuantParams p = blocked_grid();
  p.block_size = 3;
  EXPECT_EQ(message_of([&] { quantize(x, p); }),
            "there are 12 scales and 12 zero_points for 8 blocks (axis 1 of shape 2x5x2)");
  p.axis = -1;
  EXPECT_EQ(message_of([&] { quantize(x, p); }), "blocks of 3 elements along axis -1 are not possible");
  p.axis = 3;
  EXPECT_EQ(message_of([&] { quantize(x, p); }), "axis 3 does not exist in a tensor of shape 2x5x2");
  EXPECT_EQ(message_of([&] { choose_params_per_block(x, 1, 0, {}); }), "blocks have 0 elements; at least 1 is needed");
  EXPECT_EQ(message_of([&] {
              dequantize(Tensor(DataType::uint4, {2, 5, 2}), blocked_grid());
            }),
            "codes have type uint4, but the grid needs int8");
  EXPECT_EQ(message_of([&] {
              dequantize(Tensor(DataType::int2, {2, 5, 2}), blocked_grid());
            }),
            "codes have type int2, but the grid needs int8");
}

TEST(Requantize, rounds_half_to_even) {
  EXPECT_EQ(requantize(5, 0.5F, 0, -128, 127), 2);
  EXPECT_EQ(requantize(7, 0.5F, 0, -128, 127), 4);
  EXPECT_EQ(requantize(-5, 0.5F, 0, -128, 127), -2);
  EXPECT_EQ(requantize(5, 0.5F, 3, 0, 255), 5);  // ties are resolved before the zero_point is added
}

TEST(Requantize, saturates) {
  EXPECT_EQ(requantize(std::numeric_limits<std::int32_t>::max(), 1e30F, 128, 0, 255), 255);
  EXPECT_EQ(requantize(std::numeric_limits<std::int32_t>::min(), 1e30F, 128, 0, 255), 0);
  EXPECT_EQ(requantize(1000, 1, -128, -128, 127), 127);
  EXPECT_EQ(requantize(-1000, 1, 127, -127, 127), -127);
}

// 2^24 + 1 has no float32 representation; by definition the accumulator is rounded to 2^24 first.
TEST(Requantize, converts_the_accumulator_to_float32_first) {
  EXPECT_EQ(requantize((1 << 24) + 1, 0x1p-8F, 0, 0, 65536 * 2), 1 << 16);
  EXPECT_EQ(requantize((1 << 24) + 3, 0x1p-3F, 0, 0, 1 << 30), (1 << 21) + 0);  // (2^24 + 4) / 8 = 2^21 + 1/2
}

}  // namespace
}  // namespace bitfold
