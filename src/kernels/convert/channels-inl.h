// Grids per channel, and histograms. Included once per instruction set, inside its namespace (see simd.cpp).

// Minimum length from which a channel's run of elements is processed by itself. Shorter runs are processed together, as
// rows of columns that each have their own grid: a tensor [outer, channels, inner] has `outer` rows of channels * inner
// columns.
constexpr std::int64_t kLongRun = 256;
constexpr std::int64_t kColumns = 1024;  // columns at a time, so that their grids stay in the first-level cache

// Several rows of few columns are processed as one.
struct Rows {
  std::int64_t count, columns, rest;  // `rest` is the number of columns of a last, partial row

  explicit Rows(const ChannelLayout& layout) {
    const std::int64_t narrow = layout.channels * layout.inner;
    const std::int64_t together = narrow == 0 ? 1 : HWY_MAX(1, HWY_MIN(layout.outer, kColumns / narrow));
    count = layout.outer / together;
    columns = narrow * together;
    rest = layout.outer % together * narrow;
  }
};

// A few rows processed together: values loaded from the tables serve all of them, and their pages are read in turn.
template <int kCount>
struct RowsAtATime {
  std::int64_t first, stride;  // elements
  HWY_INLINE std::int64_t operator[](int row) const { return first + row * stride; }
};

// Calls block(elements of the rows, column of the tables) for each vector of `size` columns of all rows; the last
// vectors overlap. Otherwise calls single(element, column). Calls prepare(first, count) before each range of columns.
template <class Prepare, class Block, class Single>
HWY_INLINE void for_rows(const Rows& rows, std::int64_t size, Prepare prepare, Block block, Single single) {
  const auto some_rows = [&](auto at, std::int64_t end) {
    constexpr int kCount = std::is_same_v<decltype(at), RowsAtATime<1>> ? 1 : 4;
    std::int64_t j = 0;
    for (; j + size <= end; j += size) block(decltype(at){at.first + j, at.stride}, j);
    if (j < end && end >= size) {
      block(decltype(at){at.first + end - size, at.stride}, end - size);
      j = end;
    }
    for (; j < end; ++j)
      for (int r = 0; r < kCount; ++r) single(at[r] + j, j);
  };
  for (std::int64_t first = 0; first < rows.columns; first += kColumns) {
    const std::int64_t count = HWY_MIN(kColumns, rows.columns - first);
    prepare(first, count);
    std::int64_t row = 0;
    for (; row + 4 <= rows.count; row += 4) some_rows(RowsAtATime<4>{row * rows.columns + first, rows.columns}, count);
    for (; row < rows.count; ++row) some_rows(RowsAtATime<1>{row * rows.columns + first, rows.columns}, count);
    if (rows.rest > first) some_rows(RowsAtATime<1>{row * rows.columns + first, 0}, HWY_MIN(rows.rest - first, count));
  }
}

template <class V, class D, class T>
HWY_INLINE void store_past_caches_if(bool condition, V v, D d, T* to) {
  if (condition && reinterpret_cast<std::uintptr_t>(to) % HWY_MAX_BYTES == 0)
    StorePastCaches()(v, d, to);
  else
    StoreThroughCaches()(v, d, to);
}

// The grids of up to kColumns columns.
struct ColumnGrids {
  HWY_ALIGN float scale[kColumns], reciprocal[kColumns], low[kColumns], high[kColumns];
  HWY_ALIGN std::int32_t zero_point[kColumns];
  HWY_ALIGN std::uint8_t zero_byte[kColumns];
  const ByteGrid* grids[kColumns];

  void set(const ByteGrid* of_channels, const ChannelLayout& layout, std::int64_t first, std::int64_t count) {
    for (std::int64_t j = 0; j < count; ++j) {
      const ByteGrid& grid = of_channels[(first + j) / layout.inner % layout.channels];
      const convert_element::Bounds bounds(grid);
      grids[j] = &grid;
      scale[j] = grid.scale;
      reciprocal[j] = 1 / grid.scale;
      low[j] = bounds.low * grid.scale;
      high[j] = bounds.high * grid.scale;
      zero_point[j] = grid.zero_point;
      zero_byte[j] = static_cast<std::uint8_t>(grid.zero_point);
    }
  }
};

bool all_by_reciprocal(const ByteGrid* grids, std::int64_t count) {
  for (std::int64_t c = 0; c < count; ++c)
    if (!ByReciprocal::serves(grids[c].scale)) return false;
  return true;
}

// Calls run(start, channel) for each channel's run of elements.
template <class Run>
HWY_INLINE void for_runs(const ChannelLayout& layout, Run run) {
  for (std::int64_t o = 0; o < layout.outer; ++o)
    for (std::int64_t c = 0; c < layout.channels; ++c) run((o * layout.channels + c) * layout.inner, c);
}

template <class Code>
void quantize_channels(const float* x, Code* codes, const ChannelLayout& layout, const ByteGrid* grids) noexcept {
  const std::int64_t all_bytes = 5 * layout.outer * layout.channels * layout.inner;
  if (layout.inner >= kLongRun || !all_by_reciprocal(grids, layout.channels))
    return for_runs(layout, [&](std::int64_t at, std::int64_t c) {
      quantize_run(x + at, codes + at, layout.inner, all_bytes, grids[c]);
    });
  const bool is_past_caches = all_bytes > kFitsNoCache;
  const Rows rows(layout);
  ColumnGrids table;
  const WordOrder order = order_among_blocks();
  const std::int64_t n = lanes();
  auto* bytes = reinterpret_cast<std::uint8_t*>(codes);
  const auto quotients = [&](std::int64_t j) {
    return ByReciprocal{hn::LoadU(kFloats, table.scale + j), hn::LoadU(kFloats, table.reciprocal + j),
                        hn::LoadU(kFloats, table.low + j), hn::LoadU(kFloats, table.high + j)};
  };
  const auto steps = [&](const ByReciprocal& of, std::int64_t i) {
    return hn::BitCast(Words(), of.steps(hn::LoadU(kFloats, x + i)));
  };
  for_rows(
      rows, 4 * n, [&](std::int64_t first, std::int64_t count) { table.set(grids, layout, first, count); },
      [&]<int kCount>(RowsAtATime<kCount> at, std::int64_t j) {
        const auto a = quotients(j), b = quotients(j + n), c = quotients(j + 2 * n), d = quotients(j + 3 * n);
        const auto zero_points = hn::LoadU(Bytes(), table.zero_byte + j);
        for (int r = 0; r < kCount; ++r) {
          const std::int64_t i = at[r];
          for (std::int64_t k = 0; k < 4 * n; k += 16) hwy::Prefetch(x + i + k + 4 * at.stride);
          const auto blocks = lowest_bytes(steps(a, i), steps(b, i + n), steps(c, i + 2 * n), steps(d, i + 3 * n));
          store_past_caches_if(is_past_caches, hn::Add(in_order(blocks, order), zero_points), Bytes(), bytes + i);
        }
      },
      [&](std::int64_t i, std::int64_t j) {
        codes[i] = convert_element::quantize<Code>(x[i], *table.grids[j], convert_element::Bounds(*table.grids[j]));
      });
  if (is_past_caches) hwy::FlushStream();
}

template <class Code>
void dequantize_channels(const Code* codes, float* x, const ChannelLayout& layout, const ByteGrid* grids) noexcept {
  const std::int64_t all_bytes = 5 * layout.outer * layout.channels * layout.inner;
  if (layout.inner >= kLongRun)
    return for_runs(layout, [&](std::int64_t at, std::int64_t c) {
      dequantize_run(codes + at, x + at, layout.inner, all_bytes, grids[c]);
    });
  const bool is_past_caches = all_bytes > kFitsNoCache;
  const Rows rows(layout);
  constexpr std::int64_t kLine = 16;  // floats
  ColumnGrids table;
  const hn::Rebind<Code, decltype(kFloats)> bytes;
  for_rows(
      rows, kLine, [&](std::int64_t first, std::int64_t count) { table.set(grids, layout, first, count); },
      [&]<int kCount>(RowsAtATime<kCount> at, std::int64_t j) {
        for (int r = 0; r < kCount; ++r) {
          hwy::Prefetch(codes + at[r] + 4 * at.stride);
          for (std::int64_t k = 0; k < kLine; k += lanes()) {
            const auto zero_point = hn::LoadU(kInts, table.zero_point + j + k);
            const auto scale = hn::LoadU(kFloats, table.scale + j + k);
            const auto steps = hn::Sub(hn::PromoteTo(kInts, hn::LoadU(bytes, codes + at[r] + k)), zero_point);
            store_past_caches_if(is_past_caches, hn::Mul(hn::ConvertTo(kFloats, steps), scale), kFloats, x + at[r] + k);
          }
        }
      },
      [&](std::int64_t i, std::int64_t j) { x[i] = convert_element::dequantize(codes[i], *table.grids[j]); });
  if (is_past_caches) hwy::FlushStream();
}

void min_max_channels(const float* x, const ChannelLayout& layout, float* min, float* max) noexcept {
  if (layout.outer == 0 || layout.inner == 0) return kPortableConvertKernels.min_max_channels(x, layout, min, max);
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (std::int64_t c = 0; c < layout.channels; ++c) {
    min[c] = kLargest;
    max[c] = -kLargest;
  }
  const auto include = [&](std::int64_t c, float low, float high) {
    min[c] = HWY_MIN(min[c], low) + 0.0F;  // turns -0 into 0, see convert.h
    max[c] = HWY_MAX(max[c], high) + 0.0F;
  };
  const bool is_large =
      layout.outer * layout.channels * layout.inner * static_cast<std::int64_t>(sizeof(float)) > kFitsCache;
  if (layout.inner >= kLongRun)
    return for_runs(layout, [&](std::int64_t at, std::int64_t c) {
      float low, high;
      min_max_run(x + at, layout.inner, is_large, &low, &high);
      include(c, low, high);
    });
  const Rows rows(layout);
  HWY_ALIGN float low[kColumns], high[kColumns];
  std::int64_t begin = 0, columns = 0;
  const auto finish = [&] {
    for (std::int64_t j = 0; j < columns; ++j) include((begin + j) / layout.inner % layout.channels, low[j], high[j]);
  };
  for_rows(
      rows, lanes(),
      [&](std::int64_t first, std::int64_t count) {
        finish();
        begin = first;
        columns = count;
        for (std::int64_t j = 0; j < count; ++j) {
          low[j] = kLargest;
          high[j] = -kLargest;
        }
      },
      [&]<int kCount>(RowsAtATime<kCount> at, std::int64_t j) {
        auto least = hn::LoadU(kFloats, low + j), most = hn::LoadU(kFloats, high + j);
        for (int r = 0; r < kCount; ++r) {
          hwy::Prefetch(x + at[r] + 4 * at.stride);
          const auto v = hn::LoadU(kFloats, x + at[r]);
          least = hn::Min(least, v);
          most = hn::Max(most, v);
        }
        hn::StoreU(least, kFloats, low + j);
        hn::StoreU(most, kFloats, high + j);
      },
      [&](std::int64_t i, std::int64_t j) {
        low[j] = HWY_MIN(low[j], x[i]);
        high[j] = HWY_MAX(high[j], x[i]);
      });
  finish();
}

// Finds the bins of a block in vectors, then counts them one by one. Four tables alternate, because runs of equal reals
// would otherwise wait for their own last store. The counts are 16 bits wide, so that all four tables fit the
// first-level cache. With AVX-512 the bin of 0, which is frequent after a Relu, is not counted: its count is what
// remains. The block after next is prefetched while counting, which reads nothing else from memory.
constexpr std::int64_t kCountedBlock = 1024, kTables = 4;
using Tables = std::uint16_t[kTables][kHistogramBins];

HWY_INLINE void count_block(const std::int32_t* bins, std::int64_t count, const float* next, Tables& tables) {
  constexpr std::int64_t kLine = 16;  // floats
  std::int64_t i = 0;
  for (; i + kLine <= count; i += kLine) {
    hwy::Prefetch(next + i);
    for (std::int64_t k = i; k < i + kLine; k += kTables)
      for (std::int64_t t = 0; t < kTables; ++t) ++tables[t][bins[k + t]];
  }
  for (std::int64_t line = i; line < kCountedBlock; line += kLine) hwy::Prefetch(next + line);
  for (; i < count; ++i) ++tables[i % kTables][bins[i]];
}

// Writes the bins of a block of `count` reals, possibly leaving out the bin of 0. Returns the number of bins written,
// or -1 if a real has no bin or is not finite. Updates the extremes `low` and `high`.
//
// The bin is the integer nearest to the quotient, minus 1 if that integer is above it. As in ByReciprocal::steps,
// adding kShift rounds. The bits of this sum increase with the quotient, so a value without a bin is recognized by bits
// outside the range of bins.
HWY_INLINE std::int64_t find_bins(const float* x, std::int64_t count, float width, std::int32_t* bins, FloatVector& low,
                                  FloatVector& high) {
  const auto widths = hn::Set(kFloats, width), inverses = hn::Set(kFloats, 1 / width);
  const auto shift = hn::Set(kFloats, ByReciprocal::kShift);
  const auto middle = hn::Set(kInts, kHistogramBins / 2 - ByReciprocal::kShiftBits);
  const auto zero = hn::Set(kInts, kHistogramBins / 2);
  std::int64_t written = 0;
  auto least = low, most = high;
  auto seen = hn::Zero(kInts);
  for (std::int64_t i = 0; i < count; i += lanes()) {
    const auto v = hn::LoadU(kFloats, x + i);
    least = hn::Min(least, v);
    most = hn::Max(most, v);
    const auto shifted = hn::Add(hn::Mul(v, inverses), shift);
    const auto is_below = hn::Lt(v, hn::Mul(hn::Sub(shifted, shift), widths));
    const auto below = hn::VecFromMask(kInts, hn::RebindMask(kInts, is_below));  // -1 where it is below
    const auto bin = hn::Add(hn::Add(hn::BitCast(kInts, shifted), middle), below);
    seen = hn::Or(seen, bin);
    if constexpr (HWY_TARGET == HWY_AVX3) {
      const auto is_other = hn::Ne(bin, zero);
      hn::StoreU(hn::Compress(bin, is_other), kInts, bins + written);
      written += static_cast<std::int64_t>(hn::CountTrue(kInts, is_other));
    } else {  // AVX2 has no compress instruction
      hn::StoreU(bin, kInts, bins + written);
      written += lanes();
    }
  }
  if (!hn::AllTrue(kInts, hn::Eq(hn::And(seen, hn::Set(kInts, ~(kHistogramBins - 1))), hn::Zero(kInts)))) return -1;
  low = least;
  high = most;
  return written;
}

std::int64_t count_bins(const float* x, std::int64_t n, float width, std::int64_t* counts, float* min,
                        float* max) noexcept {
  constexpr std::int64_t kPiece = 63 * kTables * kCountedBlock;  // overflows no table even if all values are equal
  // for fewer reals, clearing the tables would take longer than counting
  constexpr std::int64_t kMinTableRun = 4 * kCountedBlock;
  HWY_ALIGN std::int32_t bins[kCountedBlock];
  HWY_ALIGN Tables tables;
  auto low = hn::Set(kFloats, *min), high = hn::Set(kFloats, *max);
  std::int64_t done = 0;
  bool have_bins = true;
  while (have_bins && done + lanes() <= n) {
    const std::int64_t piece_end = done + HWY_MIN(kPiece, (n - done) / lanes() * lanes());
    const bool are_few = piece_end - done < kMinTableRun;
    if (!are_few) std::memset(tables, 0, sizeof tables);
    while (done < piece_end) {
      const std::int64_t count = HWY_MIN(kCountedBlock, piece_end - done);
      const std::int64_t written = find_bins(x + done, count, width, bins, low, high);
      have_bins = written >= 0;
      if (!have_bins) break;
      counts[kHistogramBins / 2] += count - written;
      if (are_few)
        for (std::int64_t i = 0; i < written; ++i) ++counts[bins[i]];
      else
        count_block(bins, written, x + done + 2 * kCountedBlock, tables);
      done += count;
    }
    if (are_few) continue;
    for (int b = 0; b < kHistogramBins; ++b) counts[b] += tables[0][b] + tables[1][b] + tables[2][b] + tables[3][b];
  }
  *min = hn::GetLane(hn::MinOfLanes(kFloats, low));
  *max = hn::GetLane(hn::MaxOfLanes(kFloats, high));
  return done + kPortableConvertKernels.count_bins(x + done, n - done, width, counts, min, max);
}
