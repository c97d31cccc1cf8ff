// Reals to codes and back, with one grid or a grid per channel; extremes. Included once per instruction set, inside its
// namespace (see simd.cpp).

using Bytes = hn::Repartition<std::uint8_t, decltype(kFloats)>;
using Words = hn::Repartition<std::uint32_t, decltype(kFloats)>;
using WordOrder = decltype(hn::SetTableIndices(Words(), static_cast<const std::int32_t*>(nullptr)));

// NaN becomes `low`. Max does that on x86; elsewhere its result for NaN is unspecified.
HWY_INLINE FloatVector at_least(FloatVector x, FloatVector low) {
  return HWY_ARCH_X86 ? hn::Max(x, low) : hn::IfThenElse(hn::Gt(x, low), x, low);
}

// Packs the lowest bytes of four vectors of words into one vector, within blocks of 16 bytes, those of `a` first.
// in_order() then restores the order of words.
HWY_INLINE hn::Vec<Words> lowest_bytes(hn::Vec<Words> a, hn::Vec<Words> b, hn::Vec<Words> c, hn::Vec<Words> d) {
  const auto shuffled = [](auto interleaved, const std::uint8_t* within_block) {
    const auto order = hn::LoadDup128(Bytes(), within_block);
    return hn::BitCast(Words(), hn::TableLookupBytes(hn::BitCast(Bytes(), interleaved), order));
  };
  if constexpr (HWY_TARGET == HWY_AVX2) {  // AVX2 selects bits of two vectors in three operations, but packs in one
    const hn::Repartition<std::int16_t, decltype(kFloats)> halves;
    const auto packed = [&](auto first, auto second) {
      const auto byte = hn::Set(Words(), 0xFF);
      return hn::ReorderDemote2To(halves, hn::BitCast(kInts, hn::And(first, byte)),
                                  hn::BitCast(kInts, hn::And(second, byte)));
    };
    // a[0], c[0], a[1], c[1], ..., b[0], d[0], ...
    alignas(16) static constexpr std::uint8_t kOrder[16] = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};
    return shuffled(hn::Or(packed(a, b), hn::ShiftLeft<8>(packed(c, d))), kOrder);
  }
  const auto first = hn::Set(Words(), 0xFF), third = hn::Set(Words(), 0xFF0000), two = hn::Set(Words(), 0xFFFF);
  const auto low = hn::IfVecThenElse(first, a, hn::ShiftLeft<8>(b));
  const auto high = hn::IfVecThenElse(third, hn::ShiftLeft<16>(c), hn::ShiftLeft<24>(d));
  // a[0], b[0], c[0], d[0], a[1], ...
  alignas(16) static constexpr std::uint8_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return shuffled(hn::IfVecThenElse(two, low, high), kOrder);
}
HWY_INLINE hn::Vec<Bytes> in_order(hn::Vec<Words> blocks, WordOrder order) {
  return hn::BitCast(Bytes(), hn::TableLookupLanes(blocks, order));
}
HWY_INLINE WordOrder order_among_blocks() {
  HWY_ALIGN std::int32_t order[HWY_MAX_BYTES / 4];
  const auto words = static_cast<std::int32_t>(hn::Lanes(Words())), blocks = words / 4;
  for (std::int32_t i = 0; i < words; ++i) order[i] = i % blocks * 4 + i / blocks;
  return hn::SetTableIndices(Words(), order);
}

// The quotient of (3) exactly as a true division gives it, but without dividing: dividing 16 floats takes 16 cycles,
// longer than reading them from memory.
//
// q approximates x / scale to 1.5 units in the last place. One Newton step makes it faithful, and a second one rounds
// it correctly, because the remainder is exact and the reciprocal correctly rounded (Markstein, "Computation of
// elementary functions on the IBM RISC System/6000 processor", 1990, theorem 7). This requires remainders far from
// underflow, hence scales within [2^-60, 2^60]. Quotients below 1/4, whose remainders may lose bits, are too far from
// 1/2 for that to change the rounded result.
//
// x is clamped instead of the quotient, which keeps infinities out of the remainder. The bounds low * scale and high *
// scale are rounded by less than a quotient needs to move from the integer `low` or `high` to another.
struct ByReciprocal {
  FloatVector scale, reciprocal, low, high;

  // Adding 1.5 * 2^23 to a number below 2^22 in magnitude leaves the bits of the integer, rounded half to even.
  // hn::NearestInt takes three times as long, because it handles numbers outside int32.
  static constexpr float kShift = 0x1.8p23F;
  static constexpr std::int32_t kShiftBits = 0x4B400000;

  static bool serves(float scale) { return scale >= 0x1p-60F && scale <= 0x1p60F; }

  // Integers whose lowest byte equals the lowest byte of q - zero_point.
  HWY_INLINE IntVector steps(FloatVector x) const {
    x = hn::Min(at_least(x, low), high);
    auto q = hn::Mul(x, reciprocal);
    q = hn::MulAdd(hn::NegMulAdd(q, scale, x), reciprocal, q);
    q = hn::MulAdd(hn::NegMulAdd(q, scale, x), reciprocal, q);
    return hn::BitCast(kInts, hn::Add(q, hn::Set(kFloats, kShift)));
  }
};
static_assert(ByReciprocal::kShiftBits % 256 == 0);

struct ByDivision {
  FloatVector scale, low, high;

  HWY_INLINE IntVector steps(FloatVector x) const {
    return hn::NearestInt(hn::Min(at_least(hn::Div(x, scale), low), high));
  }
};

// The operation that for_array() uses to quantize. Codes are steps plus the zero point, modulo 256. One byte of each
// step is therefore enough, and the bytes of four vectors are packed into one before the zero point is added.
template <class Code, class Quotients>
struct Quantization {
  using Out = Code;
  static constexpr std::int64_t kBytesRead = sizeof(float), kVectorsPerBlock = 4;
  const float* from;
  Code* to;
  Quotients quotients;
  hn::Vec<Bytes> zero_point;
  WordOrder order;
  ByteGrid grid;

  static HWY_INLINE std::int64_t vector_size() { return lanes(); }
  HWY_INLINE hn::Vec<Words> steps(std::int64_t i) const {
    return hn::BitCast(Words(), quotients.steps(hn::LoadU(kFloats, from + i)));
  }
  template <class Store>
  HWY_INLINE void block(std::int64_t i, Store store) const {
    const std::int64_t n = lanes();
    const auto blocks = lowest_bytes(steps(i), steps(i + n), steps(i + 2 * n), steps(i + 3 * n));
    store(hn::Add(in_order(blocks, order), zero_point), Bytes(), reinterpret_cast<std::uint8_t*>(to + i));
  }
  HWY_INLINE void vector(std::int64_t i) const {
    const hn::Rebind<std::uint8_t, Words> quarter;
    const auto bytes = hn::And(steps(i), hn::Set(Words(), 0xFF));
    hn::StoreU(hn::Add(hn::U8FromU32(bytes), hn::Set(quarter, static_cast<std::uint8_t>(grid.zero_point))), quarter,
               reinterpret_cast<std::uint8_t*>(to + i));
  }
  HWY_INLINE void single(std::int64_t i) const {
    to[i] = convert_element::quantize<Code>(from[i], grid, convert_element::Bounds(grid));
  }
};

template <class Code, class Quotients>
HWY_INLINE void quantize_by(const Quotients quotients, const float* x, Code* codes, std::int64_t n, std::int64_t bytes,
                            const ByteGrid& grid) {
  const auto zero_point = hn::Set(Bytes(), static_cast<std::uint8_t>(grid.zero_point));
  for_array(n, bytes, Quantization<Code, Quotients>{x, codes, quotients, zero_point, order_among_blocks(), grid});
}

// Quantizes one run; all runs of the call together read and write `bytes` of memory.
template <class Code>
void quantize_run(const float* x, Code* codes, std::int64_t n, std::int64_t bytes, const ByteGrid& grid) noexcept {
  const convert_element::Bounds bounds(grid);
  const auto scale = hn::Set(kFloats, grid.scale), low = hn::Set(kFloats, bounds.low),
             high = hn::Set(kFloats, bounds.high);
  if (ByReciprocal::serves(grid.scale))
    quantize_by(ByReciprocal{scale, hn::Set(kFloats, 1 / grid.scale), hn::Mul(low, scale), hn::Mul(high, scale)}, x,
                codes, n, bytes, grid);
  else
    quantize_by(ByDivision{scale, low, high}, x, codes, n, bytes, grid);
}

template <class Code>
void quantize(const float* x, Code* codes, std::int64_t n, const ByteGrid& grid) noexcept {
  quantize_run(x, codes, n, 5 * n, grid);
}

template <class Code>
struct Dequantization {
  using Out = float;
  static constexpr std::int64_t kBytesRead = sizeof(Code), kVectorsPerBlock = 4;
  const Code* from;
  float* to;
  FloatVector scale;
  IntVector zero_point;
  ByteGrid grid;

  static HWY_INLINE std::int64_t vector_size() { return lanes(); }
  HWY_INLINE FloatVector some(std::int64_t i) const {
    const hn::Rebind<Code, decltype(kFloats)> bytes;
    const auto steps = hn::Sub(hn::PromoteTo(kInts, hn::LoadU(bytes, from + i)), zero_point);
    return hn::Mul(hn::ConvertTo(kFloats, steps), scale);
  }
  template <class Store>
  HWY_INLINE void block(std::int64_t i, Store store) const {
    for (std::int64_t k = 0; k < kVectorsPerBlock; ++k) store(some(i + k * lanes()), kFloats, to + i + k * lanes());
  }
  HWY_INLINE void vector(std::int64_t i) const { hn::StoreU(some(i), kFloats, to + i); }
  HWY_INLINE void single(std::int64_t i) const { to[i] = convert_element::dequantize(from[i], grid); }
};

template <class Code>
void dequantize_run(const Code* codes, float* x, std::int64_t n, std::int64_t bytes, const ByteGrid& grid) noexcept {
  for_array(n, bytes,
            Dequantization<Code>{codes, x, hn::Set(kFloats, grid.scale), hn::Set(kInts, grid.zero_point), grid});
}

template <class Code>
void dequantize(const Code* codes, float* x, std::int64_t n, const ByteGrid& grid) noexcept {
  dequantize_run(codes, x, n, 5 * n, grid);
}

// The extremes of one run; `is_large` if the whole array does not fit a cache.
void min_max_run(const float* x, std::int64_t n, bool is_large, float* min, float* max) noexcept {
  const std::int64_t step = lanes();
  if (n < step) return kPortableConvertKernels.min_max(x, n, min, max);
  const auto first = hn::LoadU(kFloats, x);
  FloatVector low[kPagesAtATime] = {first, first, first, first}, high[kPagesAtATime] = {first, first, first, first};
  const auto include = [&](std::int64_t i, std::int64_t s) {
    const auto v = hn::LoadU(kFloats, x + i);
    low[s] = hn::Min(low[s], v);
    high[s] = hn::Max(high[s], v);
  };
  // If the array fits a cache, a page is a single vector.
  std::int64_t i = for_pages(n, is_large ? kPageBytes / static_cast<std::int64_t>(sizeof(float)) : step, step, include);
  for (; i + step <= n; i += step) include(i, 0);
  include(n - step, 0);
  const auto least = hn::Min(hn::Min(low[0], low[1]), hn::Min(low[2], low[3]));
  const auto most = hn::Max(hn::Max(high[0], high[1]), hn::Max(high[2], high[3]));
  *min = hn::GetLane(hn::MinOfLanes(kFloats, least)) + 0.0F;  // turns -0 into 0, see convert.h
  *max = hn::GetLane(hn::MaxOfLanes(kFloats, most)) + 0.0F;
}

void min_max(const float* x, std::int64_t n, float* min, float* max) noexcept {
  min_max_run(x, n, n * static_cast<std::int64_t>(sizeof(float)) > kFitsCache, min, max);
}

std::int64_t find_non_finite(const float* x, std::int64_t n) noexcept {
  const auto exponent = hn::Set(kInts, 0x7F800000);
  const auto exponent_of = [&](std::int64_t i) {
    return hn::And(hn::BitCast(kInts, hn::LoadU(kFloats, x + i)), exponent);
  };
  const std::int64_t step = lanes(), page = kPageBytes / static_cast<std::int64_t>(sizeof(float));
  std::int64_t begin = 0;  // all elements before this index are finite
  for (; begin + kPagesAtATime * page <= n; begin += kPagesAtATime * page) {
    auto most = hn::Zero(kInts);
    for_pages(kPagesAtATime * page, page, step,
              [&](std::int64_t i, std::int64_t) { most = hn::Max(most, exponent_of(begin + i)); });
    if (!hn::AllFalse(kInts, hn::Eq(most, exponent))) break;
  }
  for (; begin + step <= n; begin += step) {
    const auto bad = hn::Eq(exponent_of(begin), exponent);
    if (!hn::AllFalse(kInts, bad)) return begin + hn::FindFirstTrue(kInts, bad);
  }
  return begin + kPortableConvertKernels.find_non_finite(x + begin, n - begin);
}
