// Cases that the fast paths of the instruction sets could get wrong: quotients next to a tie, arrays larger than caches
// at every alignment, grids per channel, histograms. All are compared with the portable kernels, which convert_test.cpp
// compares with numeric/.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/convert/convert.h"
#include "kernels/guarded_buffer.h"

namespace bitfold {
namespace {

using testing::GuardedBuffer;

class ConvertArraysTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > detected_isa()) GTEST_SKIP() << "this CPU has no " << to_string(GetParam());
  }
  const ConvertKernels& kernels() const { return convert_kernels(GetParam()); }
  const ConvertKernels& portable() const { return convert_kernels(Isa::portable); }
};

INSTANTIATE_TEST_SUITE_P(Isa, ConvertArraysTest, ::testing::Values(Isa::avx2, Isa::avx512vnni),
                         [](const auto& test) { return std::string(to_string(test.param)); });

/// A scale with any exponent of a normal float.
float some_scale(std::mt19937& random) {
  const int exponent = std::uniform_int_distribution<int>(-126, 126)(random);
  return std::ldexp(std::uniform_real_distribution<float>(1, 2)(random), exponent);
}

TEST_P(ConvertArraysTest, quotients_next_to_a_tie_round_like_a_division) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(3);
  std::vector<float> x;
  std::vector<std::uint8_t> codes, expected;
  for (int round = 0; round < 3000; ++round) {
    const float scale = some_scale(random);
    const auto zero_point = static_cast<std::int32_t>(random() % 256);
    const ByteGrid grid{scale, zero_point, 0, 255};
    x.clear();
    for (int step = -zero_point - 1; step <= 256 - zero_point; ++step) {
      float below = (static_cast<float>(step) + 0.5F) * scale, above = below;
      x.push_back(below);
      for (int ulp = 0; ulp < 3; ++ulp) {
        x.push_back(below = std::nextafter(below, -kInfinity));
        x.push_back(above = std::nextafter(above, kInfinity));
      }
    }
    codes.resize(x.size());
    expected.resize(x.size());
    const auto n = static_cast<std::int64_t>(x.size());
    portable().quantize_u8(x.data(), expected.data(), n, grid);
    kernels().quantize_u8(x.data(), codes.data(), n, grid);
    ASSERT_EQ(codes, expected) << "scale " << scale << " zero_point " << zero_point;
  }
}

TEST_P(ConvertArraysTest, values_of_every_exponent_quantize_like_a_division) {
  std::mt19937 random(4);
  std::vector<float> x(4096);
  std::vector<std::int8_t> codes(x.size()), expected(x.size());
  for (int round = 0; round < 300; ++round) {
    const ByteGrid grid{some_scale(random), static_cast<std::int32_t>(random() % 200) - 100, -128, 127};
    for (float& v : x) {
      const std::uint32_t bits = random();
      std::memcpy(&v, &bits, sizeof v);  // includes infinities, NaN and subnormals
    }
    const auto n = static_cast<std::int64_t>(x.size());
    portable().quantize_s8(x.data(), expected.data(), n, grid);
    kernels().quantize_s8(x.data(), codes.data(), n, grid);
    ASSERT_EQ(codes, expected) << "scale " << grid.scale;
  }
}

/// Sizes that take the path for large arrays and end inside a group of pages.
constexpr std::int64_t kLarge[] = {700'001, 9'000'003};

template <class In, class Out, class Run>
void expect_same(const ConvertKernels& kernels, std::int64_t out_count, const std::vector<In>& in, Run run) {
  for (const std::int64_t shift : {0, 1, 17}) {  // elements between a cache line and the start of the output
    const GuardedBuffer<In> source(in);
    std::vector<Out> expected(static_cast<std::size_t>(out_count + 128), 77), got(expected.size(), 77);
    const auto line = reinterpret_cast<std::uintptr_t>(got.data()) % 64;
    const auto start = static_cast<std::int64_t>((64 - line) % 64 / sizeof(Out)) + shift;
    run(convert_kernels(Isa::portable), source.data(), expected.data() + start);
    run(kernels, source.data(), got.data() + start);
    ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(Out)), 0)
        << in.size() << " elements, shift " << shift;
  }
}

TEST_P(ConvertArraysTest, large_arrays_give_the_same_bytes_as_small_ones) {
  const ByteGrid grid{0.0213F, 104, 0, 255};
  for (const std::int64_t n : kLarge) {
    std::vector<float> x(static_cast<std::size_t>(n));
    std::vector<std::uint8_t> codes(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(static_cast<std::int32_t>(i * 2654435761U)) * 2e-9F;
      codes[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
    }
    expect_same<float, std::uint8_t>(
        kernels(), n, x, [&](const auto& k, const float* from, std::uint8_t* to) { k.quantize_u8(from, to, n, grid); });
    expect_same<std::uint8_t, float>(kernels(), n, codes, [&](const auto& k, const std::uint8_t* from, float* to) {
      k.dequantize_u8(from, to, n, grid);
    });
    expect_same<std::uint8_t, std::uint8_t>(
        kernels(), (n + 1) / 2, codes,
        [&](const auto& k, const std::uint8_t* from, std::uint8_t* to) { k.pack_4bit(from, to, n); });
    expect_same<std::uint8_t, std::int8_t>(
        kernels(), n, codes,
        [&](const auto& k, const std::uint8_t* from, std::int8_t* to) { k.unpack_s4(from, to, n); });
    for (const std::int64_t at : {std::int64_t{0}, std::int64_t{5000}, n / 2, n - 1}) {
      std::vector<float> y = x;
      y[static_cast<std::size_t>(at)] = -9;
      y[static_cast<std::size_t>(n - 1 - at)] = 8;
      float min = 0, max = 0;
      kernels().min_max(y.data(), n, &min, &max);
      EXPECT_EQ(max, 8);
      EXPECT_EQ(min, at == n - 1 - at ? *std::min_element(x.begin(), x.end()) : -9);
      y[static_cast<std::size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_EQ(kernels().find_non_finite(y.data(), n), at);
    }
  }
}

const std::vector<ChannelLayout> kLayouts{{1, 1, 1},    {7, 3, 1},    {1, 64, 27},  {5, 33, 9},   {2, 5, 300},
                                          {900, 3, 1},  {3, 1500, 1}, {40, 70, 2},  {1, 1, 5000}, {0, 4, 3},
                                          {3, 1100, 1}, {2, 7, 255},  {19, 128, 1}, {4, 2, 1000}, {4, 3, 0}};

TEST_P(ConvertArraysTest, halves_have_the_same_bytes_as_portable_ones) {
  const std::int64_t count = 65536;
  std::vector<std::uint16_t> halves(count), narrowed(count + 16), expected(count);
  std::iota(halves.begin(), halves.end(), 0);
  std::vector<float> x(count), wide(count);
  kernels().widen_half(halves.data(), x.data(), count);
  portable().widen_half(halves.data(), wide.data(), count);
  ASSERT_EQ(std::memcmp(x.data(), wide.data(), count * sizeof(float)), 0);
  // Numbers of every exponent, with ties and their neighbours
  std::mt19937 random(4);
  for (float& v : x) {
    const std::uint32_t bits = random() & (random() % 2 == 0 ? 0xfffff000U : 0xffffffffU);
    std::memcpy(&v, &bits, sizeof v);
  }
  for (std::int64_t n : {0, 1, 7, 33, 65536}) {
    kernels().narrow_half(x.data(), narrowed.data(), n);
    portable().narrow_half(x.data(), expected.data(), n);
    EXPECT_TRUE(std::equal(expected.begin(), expected.begin() + n, narrowed.begin())) << n;
  }
}

TEST_P(ConvertArraysTest, each_channel_is_quantized_on_its_own_grid) {
  std::mt19937 random(5);
  for (const ChannelLayout& layout : kLayouts) {
    std::vector<ByteGrid> grids(static_cast<std::size_t>(layout.channels)), extreme;
    for (ByteGrid& grid : grids)
      grid = {std::uniform_real_distribution<float>(0.001F, 0.1F)(random), static_cast<int>(random() % 9) - 4, -127,
              127};
    extreme = grids;
    extreme.back().scale = 1e30F;
    const std::int64_t n = layout.outer * layout.channels * layout.inner;
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& v : x) v = std::uniform_real_distribution<float>(-8, 8)(random);
    const GuardedBuffer<float> in(x);
    for (const auto& g : {grids, extreme}) {
      GuardedBuffer<std::int8_t> codes(n), expected(n);
      kernels().quantize_channels_s8(in.data(), codes.data(), layout, g.data());
      portable().quantize_channels_s8(in.data(), expected.data(), layout, g.data());
      for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(codes.data()[i], expected.data()[i]) << n << " at " << i;
      GuardedBuffer<float> back(n), expected_back(n);
      kernels().dequantize_channels_s8(codes.data(), back.data(), layout, g.data());
      portable().dequantize_channels_s8(codes.data(), expected_back.data(), layout, g.data());
      for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(back.data()[i], expected_back.data()[i]) << n << " at " << i;
    }
    GuardedBuffer<float> min(layout.channels), max(layout.channels), low(layout.channels), high(layout.channels);
    kernels().min_max_channels(in.data(), layout, min.data(), max.data());
    portable().min_max_channels(in.data(), layout, low.data(), high.data());
    for (std::int64_t c = 0; c < layout.channels; ++c) {
      ASSERT_EQ(min.data()[c], low.data()[c]) << layout.outer << ' ' << layout.channels << ' ' << layout.inner;
      ASSERT_EQ(max.data()[c], high.data()[c]) << layout.outer << ' ' << layout.channels << ' ' << layout.inner;
    }
  }
}

TEST(ConvertArrays, portable_kernels_quantize_each_channel_on_its_own_grid) {
  // [2, 2, 2]: channel 0 holds 1 -2 5 6, channel 1 holds 3 4 -7 8.
  const std::vector<float> x{1, -2, 3, 4, 5, 6, -7, 8};
  const ChannelLayout layout{2, 2, 2};
  const ByteGrid grids[] = {{1, 0, -128, 127}, {2, 1, -128, 127}};
  std::vector<std::int8_t> codes(8);
  const ConvertKernels& portable = convert_kernels(Isa::portable);
  portable.quantize_channels_s8(x.data(), codes.data(), layout, grids);
  EXPECT_EQ(codes, (std::vector<std::int8_t>{1, -2, 3, 3, 5, 6, -3, 5}));
  float min[2], max[2];
  portable.min_max_channels(x.data(), layout, min, max);
  EXPECT_EQ(min[0], -2);
  EXPECT_EQ(min[1], -7);
  EXPECT_EQ(max[0], 6);
  EXPECT_EQ(max[1], 8);
}

TEST_P(ConvertArraysTest, every_value_is_counted_in_its_bin) {
  std::mt19937 random(6);
  for (const float width : {0x1p-126F, 0x1p-9F, 1.0F, 0x1p100F})
    for (const std::int64_t n : {0, 1, 15, 16, 1000, 1024, 300'007}) {
      std::vector<float> x(static_cast<std::size_t>(n));
      for (float& v : x) {
        // Many zeros, edges of bins, both signs, and values too small to leave the two middle bins.
        const auto bin = static_cast<float>(static_cast<int>(random() % kHistogramBins) - kHistogramBins / 2);
        const auto kind = random() % 4;
        v = kind == 0 ? 0 : kind == 1 ? bin * width : kind == 2 ? (bin + 0.999F) * width : -1e-44F;
      }
      const GuardedBuffer<float> in(x);
      std::vector<std::int64_t> counts(kHistogramBins, 2), expected(kHistogramBins, 2);
      float min = 0, max = 0, least = 0, most = 0;
      ASSERT_EQ(kernels().count_bins(in.data(), n, width, counts.data(), &min, &max), n);
      ASSERT_EQ(portable().count_bins(in.data(), n, width, expected.data(), &least, &most), n);
      ASSERT_EQ(counts, expected) << n << " reals, width " << width;
      for (const float v : x) {
        ASSERT_LE(min, v);
        ASSERT_GE(max, v);
      }
      ASSERT_EQ(min, least);
      ASSERT_EQ(max, most);
      for (const float v : x) --expected[static_cast<std::size_t>(std::floor(double{v} / width) + kHistogramBins / 2)];
      ASSERT_EQ(expected, std::vector<std::int64_t>(kHistogramBins, 2));
    }
}

TEST_P(ConvertArraysTest, counting_stops_at_the_first_value_without_a_bin) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (const float width : {0x1p-126F, 0x1p-9F, 0x1p126F})
    for (const float bad : {kInfinity, -kInfinity, kNan, -kNan, kHistogramBins / 2 * width,
                            -(kHistogramBins / 2 + 1) * width, 0x1p127F, -0x1p127F}) {
      if (width == 0x1p126F && std::isfinite(bad)) continue;  // at this width every finite value has a bin
      for (const std::int64_t at : {0, 1, 16, 1023, 1024, 5000, 299'990})
        for (const std::int64_t behind : {0, 1, 40, 70'000}) {
          std::vector<float> x(static_cast<std::size_t>(at + 1 + behind), -width);
          for (std::size_t i = static_cast<std::size_t>(at); i < x.size(); i += 9) x[i] = bad;
          if (at > 0) x[static_cast<std::size_t>(at) / 2] = width;
          const GuardedBuffer<float> in(x);
          std::vector<std::int64_t> counts(kHistogramBins, 0);
          float min = -0.0F, max = -0.0F;
          ASSERT_EQ(kernels().count_bins(in.data(), std::ssize(x), width, counts.data(), &min, &max), at) << bad;
          ASSERT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), at) << bad;
          ASSERT_EQ(counts[kHistogramBins / 2 + 1], at > 0 ? 1 : 0);
          ASSERT_EQ(min, at > 1 ? -width : 0);
          ASSERT_EQ(max, at > 0 ? width : 0);
          ASSERT_FALSE(std::signbit(max));
        }
    }
}

}  // namespace
}  // namespace bitfold
