// The operators with Google Highway, compiled once per instruction set, and the selection among them.
//
// The end of a row of codes is handled by one more vector that ends at the last code and overlaps the one before. Rows
// shorter than a vector, and operators that may work in place (binary), handle the end element by element.
#ifdef BITFOLD_PORTABLE
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pointwise/simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "kernels/pointwise/intrinsics.h"
#include "kernels/pointwise/portable.h"
#include "kernels/select_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace bitfold {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

const PointwiseKernels* pointwise_of_target() { return &kPortablePointwiseKernels; }

#else

namespace hn = hwy::HWY_NAMESPACE;
namespace element = pointwise_element;

const hn::ScalableTag<float> kFloats;
const hn::RebindToSigned<decltype(kFloats)> kInts;
const hn::Rebind<std::uint8_t, decltype(kFloats)> kCodes;  // as many codes as floats
using FloatVector = hn::Vec<decltype(kFloats)>;
using IntVector = hn::Vec<decltype(kInts)>;

HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(kFloats)); }

/// float(q - zero_point) * scale
struct Reals {
  FloatVector scale;
  IntVector zero_point;
  explicit Reals(const ByteGrid& grid)
      : scale(hn::Set(kFloats, grid.scale)), zero_point(hn::Set(kInts, grid.zero_point)) {}
  HWY_INLINE FloatVector operator()(const std::uint8_t* codes) const {
    const auto steps = hn::Sub(hn::PromoteTo(kInts, hn::LoadU(kCodes, codes)), zero_point);
    return hn::Mul(hn::ConvertTo(kFloats, steps), scale);
  }
};

/// Converts steps of a grid, neither clamped nor rounded, to codes.
struct Rounding {
  FloatVector low, high;
  IntVector zero_point;
  explicit Rounding(const ByteGrid& grid)
      : low(hn::Set(kFloats, static_cast<float>(grid.qmin - grid.zero_point))),
        high(hn::Set(kFloats, static_cast<float>(grid.qmax - grid.zero_point))),
        zero_point(hn::Set(kInts, grid.zero_point)) {}
  HWY_INLINE void operator()(FloatVector steps, std::uint8_t* to) const {
    const auto whole = hn::NearestInt(hn::Min(hn::Max(steps, low), high));
    hn::StoreU(hn::DemoteTo(kCodes, hn::Add(whole, zero_point)), kCodes, to);
  }
};

template <CodeBinary kKind>
void binary_of(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
               const BinaryGrids& grids) {
  const Reals real_a(grids.a), real_b(grids.b);
  const Rounding round(grids.y);
  const auto scale = hn::Set(kFloats, grids.y.scale);
  std::int64_t i = 0;
  for (; i + lanes() <= n; i += lanes()) {
    const auto ra = real_a(a + i), rb = real_b(b + i);
    const auto r = kKind == CodeBinary::add   ? hn::Add(ra, rb)
                   : kKind == CodeBinary::sub ? hn::Sub(ra, rb)
                                              : hn::Mul(ra, rb);
    round(hn::Div(r, scale), y + i);
  }
  for (; i < n; ++i) y[i] = element::binary(kKind, a[i], b[i], grids);
}

void binary(CodeBinary kind, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* y, std::int64_t n,
            const BinaryGrids& grids) noexcept {
  switch (kind) {
    case CodeBinary::add:
      return binary_of<CodeBinary::add>(a, b, y, n, grids);
    case CodeBinary::sub:
      return binary_of<CodeBinary::sub>(a, b, y, n, grids);
    case CodeBinary::mul:
      return binary_of<CodeBinary::mul>(a, b, y, n, grids);
  }
}

/// The part of a pooling window that lies inside the image.
struct Clipped {
  const std::uint8_t* first;
  std::int64_t rows, columns, row_bytes, column_bytes;

  Clipped(const std::uint8_t* x, const PoolShape& s, std::int64_t row, std::int64_t column)
      : row_bytes(s.dilation_h * s.in_width * s.channels), column_bytes(s.dilation_w * s.channels) {
    std::int64_t h = row * s.stride_h - s.pad_top, w = column * s.stride_w - s.pad_left;
    rows = clip(&h, s.kernel_h, s.dilation_h, s.in_height);
    columns = clip(&w, s.kernel_w, s.dilation_w, s.in_width);
    first = x + (h * s.in_width + w) * s.channels;
  }

  /// Moves `start` to the first of `taps` positions that is not negative; returns how many positions from there are
  /// below `size`.
  static HWY_INLINE std::int64_t clip(std::int64_t* start, std::int64_t taps, std::int64_t dilation,
                                      std::int64_t size) {
    if (*start >= 0 && *start + (taps - 1) * dilation < size) return taps;
    const std::int64_t before = *start < 0 ? HWY_MIN(taps, (-*start + dilation - 1) / dilation) : 0;
    *start += before * dilation;
    const std::int64_t room = *start < size ? (size - *start + dilation - 1) / dilation : 0;
    const std::int64_t count = HWY_MIN(taps - before, room);
    if (count <= 0) *start = 0;  // nothing is read, but the address must stay inside the image
    return HWY_MAX(count, std::int64_t{0});
  }

  /// Calls visit(address) for every tap.
  template <class Visit>
  HWY_INLINE void for_taps(Visit visit) const {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j) visit(first + i * row_bytes + j * column_bytes);
  }
};

// kTaps x kTaps taps, or all taps of the window if kTaps is 0.
template <int kTaps, class Tag>
HWY_INLINE void max_of_taps(Tag tag, const Clipped& window, std::int64_t c, std::uint8_t* to) {
  auto most = hn::Zero(tag);
  const std::int64_t rows = kTaps == 0 ? window.rows : kTaps, columns = kTaps == 0 ? window.columns : kTaps;
  const std::uint8_t* x = window.first + c;
  for (std::int64_t i = 0; i < rows; ++i, x += window.row_bytes)
    for (std::int64_t j = 0; j < columns; ++j) most = hn::Max(most, hn::LoadU(tag, x + j * window.column_bytes));
  hn::StoreU(most, tag, to + c);
}

template <int kTaps, class Tag>
HWY_INLINE void max_of_pixel(Tag tag, const Clipped& window, std::int64_t channels, std::uint8_t* to) {
  const auto step = static_cast<std::int64_t>(hn::Lanes(tag));
  std::int64_t c = 0;
  for (; c + step <= channels; c += step) max_of_taps<kTaps>(tag, window, c, to);
  if (c < channels) max_of_taps<kTaps>(tag, window, channels - step, to);
}

// Whole windows of common sizes are unrolled: with 16 channels there is only one vector per pixel, and computing the
// window's edges would take longer than the maximum.
template <int kTaps, class Tag>
HWY_INLINE void max_of_row(Tag tag, const std::uint8_t* x, std::uint8_t* y, const PoolShape& s, std::int64_t row) {
  const std::int64_t pixel_step = s.stride_w * s.channels;
  std::uint8_t* to = y + row * s.out_width * s.channels;
  for (std::int64_t column = 0; column < s.out_width;) {
    Clipped window(x, s, row, column);
    std::int64_t whole = 0;  // number of windows from here on that lie inside the image
    if (kTaps != 0 && window.rows == kTaps && window.columns == kTaps) {
      // the last left edge of a whole window, counted from the start of the padding
      const std::int64_t room = s.in_width - (kTaps - 1) * s.dilation_w - 1 + s.pad_left;
      whole = HWY_MIN(s.out_width, room / s.stride_w + 1) - column;
    }
    if (whole <= 0) {
      max_of_pixel<0>(tag, window, s.channels, to);
      to += s.channels;
      ++column;
      continue;
    }
    for (std::int64_t i = 0; i < whole; ++i, window.first += pixel_step, to += s.channels)
      max_of_pixel<kTaps>(tag, window, s.channels, to);
    column += whole;
  }
}

template <int kTaps>
void max_of_rows(const std::uint8_t* x, std::uint8_t* y, const PoolShape& s, std::int64_t begin, std::int64_t end) {
  const hn::ScalableTag<std::uint8_t> wide;
  const hn::CappedTag<std::uint8_t, 32> half;
  const hn::CappedTag<std::uint8_t, 16> narrow;
  const auto fits = [&](auto tag) { return s.channels >= static_cast<std::int64_t>(hn::Lanes(tag)); };
  for (std::int64_t row = begin; row < end; ++row)
    if (fits(wide))
      max_of_row<kTaps>(wide, x, y, s, row);
    else if (fits(half))
      max_of_row<kTaps>(half, x, y, s, row);
    else
      max_of_row<kTaps>(narrow, x, y, s, row);
}

void max_pool(const std::uint8_t* x, std::uint8_t* y, const PoolShape& s, std::int64_t begin,
              std::int64_t end) noexcept {
  if (s.channels < 16) return kPortablePointwiseKernels.max_pool(x, y, s, begin, end);
  if (s.kernel_h == 2 && s.kernel_w == 2) return max_of_rows<2>(x, y, s, begin, end);
  if (s.kernel_h == 3 && s.kernel_w == 3) return max_of_rows<3>(x, y, s, begin, end);
  max_of_rows<0>(x, y, s, begin, end);
}

void average_pool(const std::uint8_t* x, std::uint8_t* y, const PoolShape& s, const AveragePool& pool,
                  std::int64_t begin, std::int64_t end) noexcept {
  if (s.channels < lanes()) return kPortablePointwiseKernels.average_pool(x, y, s, pool, begin, end);
  const Rounding round(pool.y);
  for (std::int64_t row = begin; row < end; ++row)
    for (std::int64_t column = 0; column < s.out_width; ++column) {
      const Clipped window(x, s, row, column);
      const element::Averaging how(s, pool, window.rows * window.columns);
      const auto zero_sum = hn::Set(kInts, how.zero_sum);
      const auto multiplier = hn::Set(kFloats, how.multiplier);
      std::uint8_t* to = y + (row * s.out_width + column) * s.channels;
      for (std::int64_t c = 0; c < s.channels; c += lanes()) {
        const std::int64_t at = HWY_MIN(c, s.channels - lanes());
        auto sum = hn::Zero(kInts);
        window.for_taps(
            [&](const std::uint8_t* tap) { sum = hn::Add(sum, hn::PromoteTo(kInts, hn::LoadU(kCodes, tap + at))); });
        round(hn::Mul(hn::ConvertTo(kFloats, hn::Sub(sum, zero_sum)), multiplier), to + at);
      }
    }
}

const PointwiseKernels* pointwise_of_target() {
  static const PointwiseKernels kernels = [] {
    PointwiseKernels k = kPortablePointwiseKernels;
    k.name = HWY_TARGET == HWY_AVX2 ? "avx2" : "avx512";
    k.isa = HWY_TARGET == HWY_AVX2 ? Isa::avx2 : Isa::avx512vnni;
    if (HWY_TARGET != HWY_AVX2 && kVbmiLookup != nullptr && has_vbmi()) k.lookup = kVbmiLookup;
    k.binary = HWY_TARGET != HWY_AVX2 && kAvx512Binary != nullptr ? kAvx512Binary : binary;
    if (HWY_TARGET != HWY_AVX2) k.find_quick_sum = kAvx512FindQuickSum;
    k.max_pool = max_pool;
    k.average_pool = average_pool;
    return k;
  }();
  return &kernels;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace bitfold
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitfold {

const PointwiseKernels& pointwise_kernels(Isa cap) {
  return select_kernels<PointwiseKernels>(cap, HWY_CHOOSE_AVX3(pointwise_of_target),
                                          HWY_CHOOSE_AVX2(pointwise_of_target), kPortablePointwiseKernels);
}

}  // namespace bitfold
#endif
