// Every instruction set gives the bytes defined in pointwise.h.
#include "kernels/pointwise/pointwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "bitfold/affine.h"
#include "kernels/guarded_buffer.h"

namespace bitfold {
namespace {

using Bytes = std::vector<std::uint8_t>;

// Around one and two vectors of 8, 16, 32 and 64 elements.
const std::vector<std::int64_t> kSizes{0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000};

Bytes random_bytes(std::int64_t n, unsigned seed = 1) {
  std::mt19937 random(seed);
  Bytes bytes(static_cast<std::size_t>(n));
  for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
  return bytes;
}

Bytes copy_of(const testing::GuardedBuffer<std::uint8_t>& buffer, std::int64_t n) {
  return {buffer.data(), buffer.data() + n};
}

class PointwiseTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (GetParam() > detected_isa()) GTEST_SKIP() << "this CPU has no " << to_string(GetParam());
  }
  const PointwiseKernels& kernels() const { return pointwise_kernels(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, PointwiseTest, ::testing::Values(Isa::portable, Isa::avx2, Isa::avx512vnni),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST_P(PointwiseTest, lookup_works_in_place) {
  const Bytes table = random_bytes(256, 5);
  for (std::int64_t n : kSizes) {
    const Bytes x = random_bytes(n);
    Bytes want(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) want[i] = table[x[i]];
    const testing::GuardedBuffer<std::uint8_t> in(x);
    testing::GuardedBuffer<std::uint8_t> out(n), same(x);
    kernels().lookup(in.data(), out.data(), n, table.data());
    kernels().lookup(same.data(), same.data(), n, table.data());
    EXPECT_EQ(copy_of(out, n), want) << n;
    EXPECT_EQ(copy_of(same, n), want) << n;
  }
}

std::uint8_t snapped(float real, const ByteGrid& grid) {
  const Tensor code = quantize(Tensor::from<float>({1}, std::vector<float>{real}),
                               {.scale = {grid.scale}, .zero_point = {grid.zero_point}});
  return static_cast<std::uint8_t>(std::clamp<int>(code.data<std::uint8_t>()[0], grid.qmin, grid.qmax));
}

TEST_P(PointwiseTest, binary_snaps_the_real_result_for_every_pair_of_codes) {
  const BinaryGrids all_grids[] = {
      {{0.0213F, 104, 0, 255}, {0.04F, 7, 0, 255}, {0.05F, 90, 0, 255}},
      {{0.5F, 128, 0, 255}, {0.25F, 0, 0, 255}, {0.5F, 100, 100, 255}},  // ties, and a Relu in the grid
      {{0.013F, 11, 0, 255}, {0.0137F, 60, 0, 255}, {0.0271F, 33, 0, 255}},
      {{1e36F, 128, 0, 255}, {1e-3F, 3, 0, 255}, {2e38F, 128, 0, 255}},  // the reciprocal is subnormal
      {{1e-38F, 255, 0, 255}, {1e36F, 128, 0, 255}, {0.1F, 128, 3, 200}},
  };
  Bytes a(65536), b(65536);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<std::uint8_t>(i / 256);
    b[i] = static_cast<std::uint8_t>(i);
  }
  for (const BinaryGrids& g : all_grids)
    for (CodeBinary kind : {CodeBinary::add, CodeBinary::sub, CodeBinary::mul}) {
      Bytes y(a.size());
      kernels().binary(kind, a.data(), b.data(), y.data(), static_cast<std::int64_t>(y.size()), g);
      for (std::size_t i = 0; i < y.size(); i += 1 + i % 7) {
        const float ra = static_cast<float>(a[i] - g.a.zero_point) * g.a.scale;
        const float rb = static_cast<float>(b[i] - g.b.zero_point) * g.b.scale;
        const float r = kind == CodeBinary::add ? ra + rb : kind == CodeBinary::sub ? ra - rb : ra * rb;
        ASSERT_EQ(y[i], snapped(r, g.y)) << static_cast<int>(kind) << " " << int{a[i]} << " " << int{b[i]};
      }
      Bytes portable(y.size());
      pointwise_kernels(Isa::portable).binary(kind, a.data(), b.data(), portable.data(), 65536, g);
      ASSERT_EQ(y, portable);
    }
}

TEST_P(PointwiseTest, prepared_grids_give_the_same_sum_for_every_pair_of_codes) {
  Bytes a(65536), b(65536), y(a.size()), want(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<std::uint8_t>(i / 256);
    b[i] = static_cast<std::uint8_t>(i);
  }
  std::vector<BinaryGrids> all{{{0.5F, 128}, {0.25F, 0}, {0.5F, 100, 100, 255}},  // ties
                               {{1, 0}, {1, 0}, {1, 0}},
                               {{3e38F, 128}, {3e38F, 128}, {1, 90, 5, 250}},
                               {{1e36F, 128}, {1e-3F, 3}, {2e38F, 128}},
                               {{0.03F, 7}, {0.02F, 250}, {1e-4F, 9}},    // nearly all pairs saturate
                               {{1e-4F, 7}, {3e-4F, 250}, {0.02F, 200}},  // few codes
                               {{0.03F, 7}, {0.02F, 250}, {0.02F, 9, 9, 9}}};
  std::mt19937 random(3);
  std::uniform_real_distribution<float> scale(0.01F, 0.05F);
  constexpr int kRandom = 24;
  for (int i = 0; i < kRandom; ++i) {
    const auto grid = [&] { return ByteGrid{scale(random), static_cast<std::int32_t>(random() % 256), 0, 255}; };
    all.push_back({grid(), grid(), grid()});
    if (i % 3 == 0) all.back().y.zero_point = 0;  // after a Relu
    if (i % 3 == 1) all.back().y.qmin = all.back().y.zero_point;
  }
  std::int64_t in_integers = 0, in_reals = 0;
  for (const BinaryGrids& grids : all) {
    const BinaryGrids ready = prepared(kernels(), CodeBinary::add, grids);
    in_integers += ready.sum.form == QuickSum::Form::integers ? 1 : 0;
    in_reals += ready.sum.form == QuickSum::Form::reals ? 1 : 0;
    pointwise_kernels(Isa::portable).binary(CodeBinary::add, a.data(), b.data(), want.data(), 65536, grids);
    kernels().binary(CodeBinary::add, a.data(), b.data(), y.data(), 65536, ready);
    ASSERT_EQ(y, want);
  }
  const bool looks = kernels().find_quick_sum != nullptr;
  EXPECT_GE(in_integers, looks ? kRandom * 3 / 4 : 0);
  EXPECT_GE(in_reals, looks ? 1 : 0);
}

TEST_P(PointwiseTest, binary_with_overflowing_reals_equals_the_portable_kernel) {
  const BinaryGrids g{{3e38F, 128, 0, 255}, {3e38F, 128, 0, 255}, {1, 90, 5, 250}};
  const Bytes a = random_bytes(1000, 1), b = random_bytes(1000, 2);
  for (CodeBinary kind : {CodeBinary::add, CodeBinary::sub, CodeBinary::mul}) {
    Bytes y(a.size()), want(a.size());
    pointwise_kernels(Isa::portable).binary(kind, a.data(), b.data(), want.data(), 1000, g);
    kernels().binary(kind, a.data(), b.data(), y.data(), 1000, g);
    EXPECT_EQ(y, want);
  }
}

TEST_P(PointwiseTest, binary_works_at_any_length_and_in_place) {
  const BinaryGrids g{{0.0213F, 104, 0, 255}, {0.04F, 7, 0, 255}, {0.05F, 90, 0, 255}};
  for (std::int64_t n : kSizes) {
    const Bytes a = random_bytes(n, 1), b = random_bytes(n, 2);
    Bytes want(a.size());
    pointwise_kernels(Isa::portable).binary(CodeBinary::add, a.data(), b.data(), want.data(), n, g);
    const testing::GuardedBuffer<std::uint8_t> left(a), right(b);
    testing::GuardedBuffer<std::uint8_t> out(n), same(a);
    kernels().binary(CodeBinary::add, left.data(), right.data(), out.data(), n, g);
    kernels().binary(CodeBinary::add, same.data(), right.data(), same.data(), n, g);
    EXPECT_EQ(copy_of(out, n), want) << n;
    EXPECT_EQ(copy_of(same, n), want) << n;
  }
}

struct PoolCase {
  PoolShape shape;
  bool counts_padding = false;
};

std::vector<PoolCase> pool_cases() {
  std::vector<PoolCase> cases;
  for (std::int64_t channels : {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 130}) {
    cases.push_back({{channels, 6, 8, 3, 4, 2, 2, 2, 2}});
    cases.push_back({{channels, 7, 7, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1}, true});
    cases.push_back({{channels, 7, 7, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1}, false});
    cases.push_back({{channels, 5, 9, 1, 1, 5, 9}});  // global
    // ceil mode: the last windows extend past the image
    cases.push_back({{channels, 5, 5, 3, 3, 2, 2, 2, 2, 1, 1, 0, 0}});
    cases.push_back({{channels, 9, 9, 5, 5, 3, 2, 1, 1, 2, 3, 0, 0}});        // dilation
    cases.push_back({{channels, 2, 2, 4, 4, 2, 2, 2, 2, 1, 1, 3, 3}, true});  // windows entirely in the padding
  }
  return cases;
}

/// The codes in a window, channel c, in any order.
std::vector<int> under(const Bytes& x, const PoolShape& s, std::int64_t row, std::int64_t column, std::int64_t c) {
  std::vector<int> codes;
  for (std::int64_t i = 0; i < s.kernel_h; ++i)
    for (std::int64_t j = 0; j < s.kernel_w; ++j) {
      const std::int64_t h = row * s.stride_h - s.pad_top + i * s.dilation_h;
      const std::int64_t w = column * s.stride_w - s.pad_left + j * s.dilation_w;
      if (h >= 0 && h < s.in_height && w >= 0 && w < s.in_width)
        codes.push_back(x[static_cast<std::size_t>((h * s.in_width + w) * s.channels + c)]);
    }
  return codes;
}

template <class Run, class Want>
void expect_pool(const PoolShape& s, Run run, Want want) {
  const Bytes x = random_bytes(s.in_height * s.in_width * s.channels);
  const std::int64_t n = s.out_height * s.out_width * s.channels;
  const testing::GuardedBuffer<std::uint8_t> in(x);
  testing::GuardedBuffer<std::uint8_t> out(n);
  const std::int64_t half = s.out_height / 2;
  run(in.data(), out.data(), std::int64_t{0}, half);
  run(in.data(), out.data(), half, s.out_height);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t c = i % s.channels, pixel = i / s.channels;
    ASSERT_EQ(out.data()[i], want(under(x, s, pixel / s.out_width, pixel % s.out_width, c)))
        << "channels " << s.channels << " kernel " << s.kernel_h << " at " << i;
  }
}

TEST_P(PointwiseTest, max_pool_takes_the_largest_code_inside_the_image) {
  for (const PoolCase& c : pool_cases())
    expect_pool(
        c.shape,
        [&](const std::uint8_t* x, std::uint8_t* y, std::int64_t b, std::int64_t e) {
          kernels().max_pool(x, y, c.shape, b, e);
        },
        [](const std::vector<int>& codes) {
          return static_cast<std::uint8_t>(codes.empty() ? 0 : *std::max_element(codes.begin(), codes.end()));
        });
}

TEST_P(PointwiseTest, average_pool_requantizes_the_sum) {
  const ByteGrid in{0.0213F, 104, 0, 255}, out{0.0125F, 90, 2, 250};
  for (const PoolCase& c : pool_cases()) {
    const AveragePool pool{in, out, c.counts_padding};
    expect_pool(
        c.shape,
        [&](const std::uint8_t* x, std::uint8_t* y, std::int64_t b, std::int64_t e) {
          kernels().average_pool(x, y, c.shape, pool, b, e);
        },
        [&](const std::vector<int>& codes) {
          const auto n = static_cast<int>(codes.size());
          const std::int64_t count =
              c.counts_padding ? c.shape.kernel_h * c.shape.kernel_w : std::max<std::int64_t>(1, n);
          const auto multiplier =
              static_cast<float>(double{in.scale} / (double{out.scale} * static_cast<double>(count)));
          const int sum = std::accumulate(codes.begin(), codes.end(), 0) - n * in.zero_point;
          return static_cast<std::uint8_t>(requantize(sum, multiplier, out.zero_point, out.qmin, out.qmax));
        });
  }
}

}  // namespace
}  // namespace bitfold
