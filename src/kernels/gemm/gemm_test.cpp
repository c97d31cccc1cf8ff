// Runs every kernel, including those that would not be selected: each equals the portable kernel and accesses no memory
// outside its operands.
#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/guarded_buffer.h"
#include "kernels/quick_steps.h"

namespace bitfold {
namespace {

/// Rows of pixels of an image whose row stride is `pitch` pixels.
struct Shape {
  std::int64_t pixels = 1, channels = 1;
  std::int64_t run_bytes = 4, run_count = 1;
  std::int64_t rows = 1, pitch = 1;
  std::int64_t pixel_stride = 4;
  std::int64_t y_gap = 0;  ///< Elements between pixels that must stay unchanged.

  std::int64_t groups() const { return (run_bytes + kGroupBytes - 1) / kGroupBytes; }
  std::int64_t blocks() const { return (channels + kBlockChannels - 1) / kBlockChannels; }
  std::int64_t y_stride() const { return channels + y_gap; }
  std::int64_t y_row() const { return pitch * y_stride(); }
  std::int64_t y_count() const { return (rows - 1) * y_row() + (pixels - 1) * y_stride() + channels; }
  std::string text() const {
    std::string s;
    for (std::int64_t v : {pixels, channels, run_bytes, run_count, rows, pitch, pixel_stride, y_gap})
      s += std::to_string(v) + " ";
    return s;
  }
};

/// Operands that end at unmapped pages. Bytes that the last group of a run reads past the run are multiplied by 0.
struct Operands {
  std::vector<std::int64_t> run_offsets;
  testing::GuardedBuffer<std::uint8_t> x;
  testing::GuardedBuffer<std::int8_t> weights;
  testing::GuardedBuffer<std::int32_t> bias;
  testing::GuardedBuffer<float> multipliers;
};

Operands make_operands(const Shape& s) {
  std::mt19937 random(7);
  std::vector<std::int64_t> offsets;
  for (std::int64_t r = 0; r < s.run_count; ++r) offsets.push_back(r * s.pitch * s.pixel_stride);
  const std::int64_t last = ((s.rows - 1) * s.pitch + s.pixels - 1) * s.pixel_stride;
  std::vector<std::uint8_t> x(
      static_cast<std::size_t>(last + (s.run_count == 0 ? 0 : offsets.back()) + s.groups() * kGroupBytes));
  for (auto& v : x) v = static_cast<std::uint8_t>(random());
  std::vector<std::int8_t> w(static_cast<std::size_t>(s.blocks() * s.run_count * s.groups() * kGroupWeights));
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::int64_t group = static_cast<std::int64_t>(i) / kGroupWeights % s.groups();
    const std::int64_t k = group * kGroupBytes + static_cast<std::int64_t>(i) % kGroupBytes;
    w[i] = k < s.run_bytes ? static_cast<std::int8_t>(random()) : std::int8_t{0};
  }
  std::vector<std::int32_t> bias;
  std::vector<float> multipliers;
  for (std::int64_t c = 0; c < s.blocks() * kBlockChannels; ++c) {
    bias.push_back(static_cast<std::int32_t>(random() % 20001) - 10000);
    multipliers.push_back(c % 3 == 0 ? 0.0078125F : c % 3 == 1 ? 0.003F : 0.5F);
  }
  return {offsets, testing::GuardedBuffer<std::uint8_t>(x), testing::GuardedBuffer<std::int8_t>(w),
          testing::GuardedBuffer<std::int32_t>(bias), testing::GuardedBuffer<float>(multipliers)};
}

/// Passes all rows in one call if the kernel takes rows. Sums pairs, and subtracts their weights' part from the biases.
template <class T>
std::vector<T> run(const GemmKernel& kernel, const Shape& s, const Operands& in, const ConvOutput& output,
                   bool steps_fit, const StepTerms& terms = {}) {
  testing::GuardedBuffer<T> y(s.y_count());
  std::fill_n(y.data(), s.y_count(), T{77});
  std::vector<std::int32_t> bias(in.bias.data(), in.bias.data() + s.blocks() * kBlockChannels);
  const std::int64_t block_weights = s.run_count * s.groups() * kGroupWeights;
  if (kernel.sum_pairs != nullptr)
    for (std::int64_t i = 0; i < s.blocks() * block_weights; i += kGroupBytes) {
      const std::int8_t* w = in.weights.data() + i;
      bias[static_cast<std::size_t>(i / block_weights * kBlockChannels + i / kGroupBytes % kBlockChannels)] -=
          w[0] * w[1] + w[2] * w[3];
    }
  const testing::GuardedBuffer<std::int32_t> guarded_bias(bias);
  std::vector<std::int32_t> x_pairs(static_cast<std::size_t>(s.pixels));
  const auto* weights = reinterpret_cast<const std::byte*>(in.weights.data());
  const std::byte* const middle = weights + s.blocks() * block_weights / 2;
  const PrefetchRanges ahead{{weights, middle}, {middle, weights + s.blocks() * block_weights}};
  for (std::int64_t c = 0; c < s.channels; c += kernel.nr)
    for (std::int64_t r = 0; r < s.rows; r += kernel.takes_rows ? s.rows : 1) {
      GemmTask task{.x = in.x.data() + r * s.pitch * s.pixel_stride,
                    .pixel_stride = s.pixel_stride,
                    .pixel_count = s.pixels,
                    .row_count = kernel.takes_rows ? s.rows : 1,
                    .x_row = s.pitch * s.pixel_stride,
                    .run_offsets = in.run_offsets.data(),
                    .run_count = s.run_count,
                    .group_count = s.groups(),
                    .weights = in.weights.data() + c / kBlockChannels * block_weights,
                    .block_weights = block_weights,
                    .bias = guarded_bias.data() + c,
                    .multipliers = in.multipliers.data() + c,
                    .terms = terms.from(c),
                    .channel_count = std::min<std::int64_t>(kernel.nr, s.channels - c),
                    .y = y.data() + r * s.y_row() + c,
                    .y_stride = s.y_stride(),
                    .y_row = s.y_row(),
                    .output = &output,
                    .ahead = ahead,
                    .steps_fit = steps_fit};
      if (kernel.sum_pairs != nullptr) {
        kernel.sum_pairs(task, x_pairs.data());
        task.x_pairs = x_pairs.data();
      }
      kernel.run(task);
    }
  return {y.data(), y.data() + s.y_count()};
}

const ConvOutput kOutputs[] = {
    {.zero_point = 90, .qmin = 3, .qmax = 250}, {.zero_point = 90}, {.zero_point = 0}, {.zero_point = 5, .qmin = 5}};

void expect_equals_portable(const GemmKernel& kernel, const Shape& s) {
  const Operands in = make_operands(s);
  const GemmKernel& portable = gemm_kernels()[0];
  for (AccumulatorOutput kind : {AccumulatorOutput::int32, AccumulatorOutput::float32}) {
    const ConvOutput output{.kind = kind};
    ASSERT_EQ(run<std::int32_t>(kernel, s, in, output, true), run<std::int32_t>(portable, s, in, output, true))
        << kernel.name << " pixels, channels, ...: " << s.text();
  }
  const auto slots = static_cast<std::size_t>(s.blocks() * kBlockChannels);
  const std::vector<std::int64_t> magnitudes(slots, 10000 + s.run_count * s.run_bytes * 128 * 255);
  for (const ConvOutput& output : kOutputs) {
    const QuickSteps quick({in.multipliers.data(), slots}, magnitudes, output);
    const auto expected = run<std::uint8_t>(portable, s, in, output, true);
    for (bool steps_fit : {false, true})
      ASSERT_EQ(run<std::uint8_t>(kernel, s, in, output, steps_fit), expected)
          << kernel.name << " zero point " << output.zero_point << " pixels, channels, ...: " << s.text();
    ASSERT_EQ(run<std::uint8_t>(kernel, s, in, output, true, quick.terms()), expected)
        << kernel.name << " zero point " << output.zero_point << " pixels, channels, ...: " << s.text();
  }
}

std::vector<Shape> shapes_for(const GemmKernel& kernel) {
  std::vector<Shape> shapes;
  const std::int64_t nr = kernel.nr;
  for (std::int64_t pixels = 1; pixels <= 2 * kernel.mr + 1; ++pixels)
    for (std::int64_t channels : {std::int64_t{1}, std::int64_t{15}, std::int64_t{16}, nr - 1, nr, nr + 5})
      if (channels > 0) shapes.push_back({.pixels = pixels, .channels = channels, .run_bytes = 27, .pixel_stride = 9});
  // Depths around groups and tiles, including those that do not divide into large chunks.
  for (std::int64_t bytes : {1, 4, 17, 36, 63, 64, 65, 68, 96, 128, 144, 201, 256, 300})
    for (std::int64_t pixels : {1, 5, 19, 40})
      for (std::int64_t channels : {5, 16, 33, 64, 80})
        shapes.push_back({.pixels = pixels, .channels = channels, .run_bytes = bytes, .pixel_stride = bytes});
  // Rows with padding between them: of one tile, of a part of a tile, and of several tiles; gaps between output pixels.
  for (std::int64_t pixels : {1, 2, 3, 4, 5, 7, 8, 9, 14, 16, 17, 31})
    for (std::int64_t more : {0, 2})
      for (std::int64_t rows : {2, 3, 7})
        for (std::int64_t channels : {7, 16, 32, 41}) {
          const std::int64_t pitch = pixels + more;
          shapes.push_back({pixels, channels, 24, 3, rows, pitch, 8});
          shapes.push_back({pixels, channels, 4, 2, rows, pitch, 4, 3});
        }
  // Few enough pixels for one pass over the weights, but more bytes than the first-level cache.
  shapes.push_back({.pixels = 40, .channels = 48, .run_bytes = 1216, .pixel_stride = 1216});
  // Every kernel row lies over padding: the outputs are the biases.
  shapes.push_back({.pixels = 20, .channels = 40, .run_bytes = 12, .run_count = 0, .rows = 2, .pitch = 22});
  return shapes;
}

class GemmKernelTest : public ::testing::TestWithParam<GemmKernel> {};

INSTANTIATE_TEST_SUITE_P(Kernel, GemmKernelTest, ::testing::ValuesIn(gemm_kernels().begin(), gemm_kernels().end()),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

TEST_P(GemmKernelTest, equals_the_portable_kernel) {
  const GemmKernel& kernel = GetParam();
  if (kernel.isa > detected_isa()) GTEST_SKIP() << "this CPU has no " << to_string(kernel.isa);
  for (const Shape& shape : shapes_for(kernel)) {
    if (kernel.nr < kBlockChannels && shape.channels > kernel.nr) continue;
    ASSERT_NO_FATAL_FAILURE(expect_equals_portable(kernel, shape));
  }
}

TEST(PrefetchRanges, shares_cover_the_memory_in_order) {
  const std::byte memory[1000] = {};
  const PrefetchRanges all{{memory, memory + 300}, {memory + 500, memory + 900}};
  for (std::int64_t count : {1, 2, 3, 7, 300}) {
    const std::byte *own = all.own.begin, *next = all.next.begin;
    for (std::int64_t i = 0; i < count; ++i) {
      const PrefetchRanges part = all.share(i, i + 1, count);
      EXPECT_EQ(part.own.begin, own);
      EXPECT_EQ(part.next.begin, next);
      EXPECT_TRUE(part.next.begin == part.next.end || part.own.end == all.own.end) << "own weights come first";
      own = part.own.end;
      next = part.next.end;
    }
    EXPECT_EQ(own, all.own.end);
    EXPECT_EQ(next, all.next.end);
  }
  EXPECT_EQ(all.share_passes(0, 1, 4).own.end, all.own.end) << "the first pass reads them all";
  EXPECT_EQ(all.share_passes(1, 2, 4).own.begin, nullptr);
  EXPECT_EQ(all.share_passes(1, 2, 4).next.begin, memory + 600);
}

TEST(GemmKernels, selection_depends_only_on_size_and_cap) {
  for (Isa cap : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx})
    for (std::int64_t pixels : {1, 7, 32, 3136})
      for (std::int64_t channels : {1, 16, 32, 64, 1000}) {
        const GemmSize size{.pixel_count = pixels, .channel_count = channels, .run_count = 3, .group_count = 9};
        const GemmKernel& kernel = select_gemm_kernel(size, cap);
        EXPECT_LE(kernel.isa, cap);
        EXPECT_EQ(&kernel, &select_gemm_kernel(size, cap));
      }
}

TEST(GemmKernels, selects_tiles_for_matrices_but_not_for_vectors_or_thin_shapes) {
  const auto isa = [](std::int64_t pixels, std::int64_t channels, std::int64_t depth) {
    return select_gemm_kernel({.pixel_count = pixels, .channel_count = channels, .group_count = depth / 4}, Isa::amx)
        .isa;
  };
  if (gemm_kernels().back().isa != Isa::amx) GTEST_SKIP() << "built without AMX";
  EXPECT_EQ(isa(196, 256, 1024), Isa::amx);
  EXPECT_EQ(isa(1, 1000, 2048), Isa::avx512vnni);
  EXPECT_EQ(isa(14, 16, 16), Isa::avx512vnni);
  EXPECT_EQ(isa(196, 256, 4 * 31), Isa::avx512vnni) << "31 groups would be 31 chunks";
}

}  // namespace
}  // namespace bitfold
