// Every instruction set gives the bytes of the portable kernels, and those give the bytes of numeric/.
#include "kernels/convert/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "bitfold/affine.h"
#include "kernels/guarded_buffer.h"

namespace bitfold {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Around one and several vectors of 4, 8, 16, 32 and 64 elements, and the tiles of the transposes.
const std::vector<std::int64_t> kSizes{0,  1,  2,  7,  8,   9,   15,  16,  17,  31,  32,   33,  47,
                                       63, 64, 65, 97, 127, 128, 129, 255, 256, 257, 1000, 4099};

struct GridCase {
  ByteGrid grid;
  bool is_signed;
  int bits;
};

const std::vector<GridCase> kGrids{
    {{0.0213F, 104, 0, 255}, false, 8}, {{1, 0, 0, 255}, false, 8},
    {{0.3F, 255, 0, 255}, false, 8},    {{0.1F, 0, -128, 127}, true, 8},
    {{1, -128, -128, 127}, true, 8},    {{0.7F, 5, -8, 7}, true, 4},
    {{0.25F, 2, 0, 3}, false, 2},       {{1.7F, 0, -2, 1}, true, 2},
    {{0.05F, 31, 0, 63}, false, 6},     {{1.17549435e-38F, 3, 0, 255}, false, 8},
    {{3e38F, 0, -128, 127}, true, 8},
};

class ConvertKernelsTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > detected_isa()) GTEST_SKIP() << "this CPU has no " << to_string(GetParam());
  }
  const ConvertKernels& kernels() const { return convert_kernels(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, ConvertKernelsTest, ::testing::Values(Isa::portable, Isa::avx2, Isa::avx512vnni),
                         [](const auto& test) { return std::string(to_string(test.param)); });

// Reals on codes, on ties and next to ties, extremes, subnormals, and ordinary ones, shuffled.
std::vector<float> awkward_reals(std::int64_t n, float scale, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> steps(-300, 300), exponent(-149, 127);
  const std::vector<float> extremes{std::numeric_limits<float>::max(),
                                    -std::numeric_limits<float>::max(),
                                    std::numeric_limits<float>::denorm_min(),
                                    -1e-40F,
                                    0.0F,
                                    -0.0F};
  std::vector<float> x(static_cast<std::size_t>(n));
  for (float& v : x) {
    const float tie = (std::floor(steps(random)) + 0.5F) * scale;
    switch (random() % 6) {
      case 0:
        v = tie;
        break;
      case 1:
        v = std::nextafter(tie, kInfinity);
        break;
      case 2:
        v = std::nextafter(tie, -kInfinity);
        break;
      case 3:
        v = extremes[random() % extremes.size()];
        break;
      case 4:
        v = std::exp2(exponent(random)) * (random() % 2 == 0 ? 1.0F : -1.0F);
        break;
      default:
        v = steps(random) * scale;
    }
    if (!std::isfinite(v)) v = 0;
  }
  return x;
}

bool same_bytes(const void* a, const void* b, std::size_t count) { return count == 0 || std::memcmp(a, b, count) == 0; }

QuantParams params_of(const GridCase& c) {
  return {.scale = {c.grid.scale}, .zero_point = {c.grid.zero_point}, .bits = c.bits, .is_signed = c.is_signed};
}

template <class Code>
void expect_same_as_numeric(const ConvertKernels& kernels, const GridCase& c, std::int64_t n,
                            void (*quantize_kernel)(const float*, Code*, std::int64_t, const ByteGrid&) noexcept,
                            void (*dequantize_kernel)(const Code*, float*, std::int64_t, const ByteGrid&) noexcept) {
  const auto x = awkward_reals(n, c.grid.scale, static_cast<unsigned>(n) + 1);
  const Tensor codes = quantize(Tensor::from<float>({n}, x), params_of(c));
  const Tensor reals = dequantize(codes, params_of(c));
  const testing::GuardedBuffer<float> in(x);
  testing::GuardedBuffer<Code> out(n);
  quantize_kernel(in.data(), out.data(), n, c.grid);
  EXPECT_TRUE(same_bytes(out.data(), codes.bytes(), codes.size_bytes()))
      << kernels.name << " n " << n << " scale " << c.grid.scale;
  testing::GuardedBuffer<float> back(n);
  dequantize_kernel(out.data(), back.data(), n, c.grid);
  EXPECT_TRUE(same_bytes(back.data(), reals.bytes(), reals.size_bytes()))
      << kernels.name << " n " << n << " scale " << c.grid.scale;
}

TEST_P(ConvertKernelsTest, quantize_and_dequantize_equal_the_scalar_definition) {
  for (const GridCase& c : kGrids)
    for (std::int64_t n : kSizes)
      if (c.is_signed)
        expect_same_as_numeric(kernels(), c, n, kernels().quantize_s8, kernels().dequantize_s8);
      else
        expect_same_as_numeric(kernels(), c, n, kernels().quantize_u8, kernels().dequantize_u8);
}

TEST_P(ConvertKernelsTest, every_tie_rounds_to_the_even_step) {
  std::vector<float> x;
  std::vector<std::uint8_t> expected;
  for (int step = -128; step < 127; ++step) {
    x.push_back(static_cast<float>(step) + 0.5F);
    expected.push_back(static_cast<std::uint8_t>((step % 2 == 0 ? step : step + 1) + 128));
  }
  std::vector<std::uint8_t> codes(x.size());
  kernels().quantize_u8(x.data(), codes.data(), static_cast<std::int64_t>(x.size()), {1, 128, 0, 255});
  EXPECT_EQ(codes, expected);
}

TEST_P(ConvertKernelsTest, infinities_saturate_and_nan_becomes_the_lowest_code) {
  for (std::int64_t n : {3, 64}) {
    std::vector<float> x(static_cast<std::size_t>(n), kNan);
    x[0] = kInfinity;
    x[1] = -kInfinity;
    std::vector<std::int8_t> codes(x.size());
    kernels().quantize_s8(x.data(), codes.data(), n, {0.5F, 3, -127, 120});
    EXPECT_EQ(codes[0], 120);
    for (std::size_t i = 1; i < codes.size(); ++i) ASSERT_EQ(codes[i], -127) << i;
  }
}

TEST_P(ConvertKernelsTest, layout_changes_leave_gaps_between_pixels_unchanged) {
  const ByteGrid grid{0.1F, 100, 0, 255};
  const QuantParams params{.scale = {grid.scale}, .zero_point = {grid.zero_point}};
  for (std::int64_t channels : {1, 2, 3, 4, 15, 16, 17, 40})
    for (std::int64_t pixels : {1, 2, 31, 64, 65, 255, 256, 257, 600})
      for (std::int64_t padding : {0, 1, 13}) {
        const PixelLayout layout{channels, pixels, channels + padding};
        const auto x = awkward_reals(channels * pixels, grid.scale, static_cast<unsigned>(channels + pixels));
        const Tensor codes = quantize(Tensor::from<float>({channels, pixels}, x), params);
        const Tensor reals = dequantize(codes, params);
        // The buffer ends before the last pixel's padding.
        const std::int64_t size = (pixels - 1) * layout.pixel_stride + channels;
        std::vector<std::uint8_t> expected(static_cast<std::size_t>(size), 77);
        for (std::int64_t p = 0; p < pixels; ++p)
          for (std::int64_t c = 0; c < channels; ++c)
            expected[static_cast<std::size_t>(p * layout.pixel_stride + c)] =
                codes.data<std::uint8_t>()[static_cast<std::size_t>(c * pixels + p)];
        const testing::GuardedBuffer<float> in(x);
        testing::GuardedBuffer<std::uint8_t> nhwc(std::vector<std::uint8_t>(expected.size(), 77));
        kernels().quantize_nchw_to_nhwc(in.data(), nhwc.data(), layout, grid);
        ASSERT_TRUE(same_bytes(nhwc.data(), expected.data(), expected.size())) << channels << " x " << pixels;
        testing::GuardedBuffer<float> back(channels * pixels);
        kernels().dequantize_nhwc_to_nchw(nhwc.data(), back.data(), layout, grid);
        ASSERT_TRUE(same_bytes(back.data(), reals.bytes(), reals.size_bytes())) << channels << " x " << pixels;
      }
}

TEST_P(ConvertKernelsTest, min_max_finds_extremes_at_every_position) {
  for (std::int64_t n : kSizes) {
    for (std::int64_t at = 0; at < n; at += n < 70 ? 1 : 37) {
      std::vector<float> x(static_cast<std::size_t>(n), 1.5F);
      x[static_cast<std::size_t>(at)] = -3e38F;
      x[static_cast<std::size_t>(n - 1 - at)] = at == n - 1 - at ? -3e38F : 2.25F;
      const testing::GuardedBuffer<float> in(x);
      float min = 9, max = 9;
      kernels().min_max(in.data(), n, &min, &max);
      ASSERT_EQ(min, -3e38F) << n << " at " << at;
      ASSERT_EQ(max, n == 1 ? -3e38F : at == n - 1 - at ? 1.5F : 2.25F) << n << " at " << at;
    }
  }
  float min = 9, max = 9;
  kernels().min_max(nullptr, 0, &min, &max);
  EXPECT_EQ(min, 0);
  EXPECT_EQ(max, 0);
}

TEST_P(ConvertKernelsTest, min_max_has_no_negative_zero) {
  for (std::int64_t n : {1, 5, 40}) {
    const std::vector<float> x(static_cast<std::size_t>(n), -0.0F);
    float min = 9, max = 9;
    kernels().min_max(x.data(), n, &min, &max);
    EXPECT_FALSE(std::signbit(min) || std::signbit(max)) << n;
  }
}

TEST_P(ConvertKernelsTest, finds_the_first_non_finite_value) {
  for (std::int64_t n : kSizes) {
    std::vector<float> x(static_cast<std::size_t>(n), std::numeric_limits<float>::max());
    EXPECT_EQ(kernels().find_non_finite(x.data(), n), n);
    for (std::int64_t at = n - 1; at >= 0; at -= n < 70 ? 1 : 37) {  // backwards, because later elements stay invalid
      x[static_cast<std::size_t>(at)] = at % 3 == 0 ? kNan : at % 3 == 1 ? kInfinity : -kInfinity;
      const testing::GuardedBuffer<float> in(x);
      ASSERT_EQ(kernels().find_non_finite(in.data(), n), at) << n;
    }
  }
}

TEST_P(ConvertKernelsTest, packing_equals_the_scalar_definition) {
  for (std::int64_t n : kSizes) {
    std::vector<std::uint8_t> u(static_cast<std::size_t>(n));
    std::vector<std::int8_t> s(u.size());
    for (std::size_t i = 0; i < u.size(); ++i) {
      u[i] = static_cast<std::uint8_t>((i * 7 + i / 16) % 16);
      s[i] = static_cast<std::int8_t>(u[i] - 8);
    }
    const Tensor packed_u = pack(Tensor::from<std::uint8_t>({n}, u), 4),
                 packed_s = pack(Tensor::from<std::int8_t>({n}, s), 4);
    const testing::GuardedBuffer<std::uint8_t> in_u(u);
    const testing::GuardedBuffer<std::int8_t> in_s(s);
    testing::GuardedBuffer<std::uint8_t> packed((n + 1) / 2), back_u(n);
    testing::GuardedBuffer<std::int8_t> back_s(n);
    kernels().pack_4bit(in_u.data(), packed.data(), n);
    ASSERT_TRUE(same_bytes(packed.data(), packed_u.bytes(), packed_u.size_bytes())) << n;
    kernels().unpack_u4(packed.data(), back_u.data(), n);
    ASSERT_TRUE(same_bytes(back_u.data(), u.data(), u.size())) << n;
    kernels().pack_4bit(reinterpret_cast<const std::uint8_t*>(in_s.data()), packed.data(), n);
    ASSERT_TRUE(same_bytes(packed.data(), packed_s.bytes(), packed_s.size_bytes())) << n;
    kernels().unpack_s4(packed.data(), back_s.data(), n);
    ASSERT_TRUE(same_bytes(back_s.data(), s.data(), s.size())) << n;
  }
}

TEST(ConvertKernels, selection_never_exceeds_the_cap) {
  for (Isa cap : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx}) {
    EXPECT_LE(convert_kernels(cap).isa, cap);
    if (cap <= detected_isa()) {
      EXPECT_EQ(convert_kernels(cap).isa, std::min(cap, Isa::avx512vnni));
    }
  }
}

}  // namespace
}  // namespace bitfold
