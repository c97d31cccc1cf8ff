// Expected bits are those of onnx.numpy_helper and ml_dtypes.
#include "numeric/small_reals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace bitfold {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(SmallReals, every_code_survives_conversion_to_float_and_back) {
  for (const DataType type : {DataType::float8e4m3fn, DataType::float8e4m3fnuz, DataType::float8e5m2,
                              DataType::float8e5m2fnuz, DataType::float8e8m0, DataType::float4e2m1})
    for (int code = 0; code < (bit_width(type) == 8 ? 256 : 16); ++code) {
      const float x = small_real_to_float(type, static_cast<std::uint8_t>(code));
      const std::uint8_t back = float_to_small_real(type, x, false, RoundMode::nearest);
      if (std::isnan(x))
        EXPECT_TRUE(std::isnan(small_real_to_float(type, back))) << to_string(type) << ' ' << code;
      else
        EXPECT_EQ(back, code) << to_string(type);
    }
}

TEST(SmallReals, largest_and_smallest_numbers_have_their_defined_codes) {
  EXPECT_EQ(small_real_to_float(DataType::float8e4m3fn, 0x7e), 448);
  EXPECT_EQ(small_real_to_float(DataType::float8e4m3fn, 0x01), 0x1p-9F);
  EXPECT_EQ(small_real_to_float(DataType::float8e4m3fnuz, 0x7f), 240);
  EXPECT_EQ(small_real_to_float(DataType::float8e4m3fnuz, 0x01), 0x1p-10F);
  EXPECT_EQ(small_real_to_float(DataType::float8e5m2, 0x7b), 57344);
  EXPECT_EQ(small_real_to_float(DataType::float8e5m2, 0xfc), -kInfinity);
  EXPECT_EQ(small_real_to_float(DataType::float8e5m2fnuz, 0x7f), 57344);
  EXPECT_EQ(small_real_to_float(DataType::float8e8m0, 0), 0x1p-127F);
  EXPECT_EQ(small_real_to_float(DataType::float4e2m1, 0x0f), -6);
}

TEST(SmallReals, ties_go_to_the_even_code) {
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, 1.0625F), 0x38);  // between 1 and 1.125
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, 1.1875F), 0x3a);  // between 1.125 and 1.25
  EXPECT_EQ(float_to_small_real(DataType::float8e5m2, 1.125F), 0x3c);
  EXPECT_EQ(float_to_small_real(DataType::float4e2m1, 2.5F), 4);  // between 2 and 3
  EXPECT_EQ(float_to_small_real(DataType::float4e2m1, 0.25F), 0);
}

TEST(SmallReals, numbers_beyond_the_range_saturate_on_demand) {
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, 1000), 0x7e);
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, -kInfinity), 0xfe);
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, 1000, false), 0x7f);
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, 464, false), 0x7e);  // rounds to 448
  EXPECT_EQ(float_to_small_real(DataType::float8e5m2, 1e6F, false), 0x7c);
  EXPECT_EQ(float_to_small_real(DataType::float8e5m2, 1e6F), 0x7b);
  EXPECT_EQ(float_to_small_real(DataType::float8e5m2fnuz, -1e6F, false), 0x80);
  EXPECT_EQ(float_to_small_real(DataType::float4e2m1, 100, false), 7);
}

TEST(SmallReals, nan_and_negative_zero_have_their_defined_codes) {
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, kNan), 0x7f);
  EXPECT_EQ(float_to_small_real(DataType::float8e5m2, kNan), 0x7e);
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fnuz, kNan), 0x80);
  EXPECT_EQ(float_to_small_real(DataType::float8e8m0, kNan), 0xff);
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fn, -0.0F), 0x80);
  EXPECT_EQ(float_to_small_real(DataType::float8e4m3fnuz, -0.0F), 0);
}

TEST(SmallReals, powers_of_two_round_in_three_directions) {
  for (const auto& [x, up, down, nearest] :
       {std::tuple{5.0F, 130, 129, 129}, {6.0F, 130, 129, 130}, {8.0F, 130, 130, 130}, {0x1p-130F, 0, 0, 0}}) {
    EXPECT_EQ(float_to_small_real(DataType::float8e8m0, x, true, RoundMode::up), up) << x;
    EXPECT_EQ(float_to_small_real(DataType::float8e8m0, x, true, RoundMode::down), down) << x;
    EXPECT_EQ(float_to_small_real(DataType::float8e8m0, x, true, RoundMode::nearest), nearest) << x;
  }
  EXPECT_EQ(float_to_small_real(DataType::float8e8m0, 0x1.8p127F), 254);
  EXPECT_EQ(float_to_small_real(DataType::float8e8m0, 0x1.8p127F, false), 255);
}

}  // namespace
}  // namespace bitfold
