#include "numeric/reals.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace bitfold {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Float16, every_value_survives_widening_and_rounding) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float x = float16_to_float(half);
    if (std::isnan(x))
      EXPECT_TRUE(std::isnan(float16_to_float(float_to_float16(x)))) << bits;
    else
      EXPECT_EQ(float_to_float16(x), half) << bits;
  }
}

TEST(Float16, has_the_values_of_ieee_754) {
  EXPECT_EQ(float16_to_float(0x3c00), 1.0F);
  EXPECT_EQ(float16_to_float(0xc000), -2.0F);
  EXPECT_EQ(float16_to_float(0x7bff), 65504.0F);
  EXPECT_EQ(float16_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(float16_to_float(0x03ff), 0x1p-14F - 0x1p-24F);
  EXPECT_EQ(float16_to_float(0xfc00), -kInfinity);
  EXPECT_TRUE(std::signbit(float16_to_float(0x8000)));
}

TEST(Float16, rounds_to_nearest_with_ties_to_even) {
  for (std::uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = float16_to_float(half), high = float16_to_float(static_cast<std::uint16_t>(half + 1));
    const float middle = (low + high) / 2;  // exact: a float has 13 bits more
    EXPECT_EQ(float_to_float16(std::nextafter(middle, 0.0F)), half);
    EXPECT_EQ(float_to_float16(std::nextafter(middle, kInfinity)), half + 1);
    EXPECT_EQ(float_to_float16(middle), half + half % 2);
    EXPECT_EQ(float_to_float16(-middle), 0x8000 | (half + half % 2));
  }
  EXPECT_EQ(float_to_float16(65519.996F), 0x7bff);
  EXPECT_EQ(float_to_float16(65520.0F), 0x7c00);
  EXPECT_EQ(float_to_float16(-1e30F), 0xfc00);
}

TEST(Float16, keeps_signs_and_the_high_bits_of_nan) {
  EXPECT_EQ(float_to_float16(-0.0F), 0x8000);
  EXPECT_EQ(float_to_float16(0x1p-25F), 0);  // a tie
  EXPECT_EQ(float_to_float16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(float_to_float16(std::bit_cast<float>(0xff802000U)), 0xfe01);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(float16_to_float(0xfe01)), 0xffc02000U);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0xff810000U)), 0xffc1);
}

TEST(BFloat16, rounds_to_nearest_with_ties_to_even) {
  EXPECT_EQ(bfloat16_to_float(0x3f80), 1.0F);
  EXPECT_EQ(float_to_bfloat16(1.0F + 0x1p-8F), 0x3f80);
  EXPECT_EQ(float_to_bfloat16(1.0F + 0x3p-8F), 0x3f82);
  EXPECT_EQ(float_to_bfloat16(1.0F + 0x1.02p-8F), 0x3f81);
  EXPECT_EQ(float_to_bfloat16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(float_to_bfloat16(-kInfinity), 0xff80);
  EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7f800001U)))));
}

TEST(ToFloat32, widens_halves_and_rounds_doubles) {
  Tensor halves(DataType::float16, {2});
  reinterpret_cast<std::uint16_t*>(halves.mutable_bytes())[1] = 0x4200;
  EXPECT_EQ(to_float32(halves), Tensor::from<float>({2}, std::vector<float>{0, 3}));
  const Tensor doubles = Tensor::from<double>({3}, std::vector<double>{0.1, -1e300, 1 + 0x1p-40});
  EXPECT_EQ(to_float32(doubles), Tensor::from<float>({3}, std::vector<float>{0.1F, -kInfinity, 1}));
}

}  // namespace
}  // namespace bitfold
