// Iteration over arrays in vectors. Included once per instruction set, inside its namespace (see simd.cpp).
//
// Memory is read faster from several pages at a time than from one, because the hardware prefetchers stop at the end of
// a page, and still faster if the next pages are prefetched. Output that does not fit a cache is best written with
// non-temporal stores, because otherwise each line is read first. All of this changes only the order in which elements
// are processed, and every element is independent of the others.

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kFloats;
const hn::RebindToSigned<decltype(kFloats)> kInts;
using FloatVector = hn::Vec<decltype(kFloats)>;
using IntVector = hn::Vec<decltype(kInts)>;

HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(kFloats)); }

constexpr std::int64_t kPageBytes = 4096, kPagesAtATime = 4;
constexpr std::int64_t kFitsCache = std::int64_t{2} << 20;  // bytes read and written; fits the second-level cache
// above this size, the result does not stay in a cache until it is read
constexpr std::int64_t kFitsNoCache = std::int64_t{32} << 20;

// Calls block(i, s) for each block of [0, n), taken from kPagesAtATime pages in turn; s is the index of the page in the
// group. Returns the first element that is not in a whole group of pages. `page` is a multiple of `size`.
template <class Block>
HWY_INLINE std::int64_t for_pages(std::int64_t n, std::int64_t page, std::int64_t size, Block block) {
  const std::int64_t group = kPagesAtATime * page;
  std::int64_t begin = 0;
  for (; begin + group <= n; begin += group)
    for (std::int64_t at = begin; at < begin + page; at += size)
      for (std::int64_t s = 0; s < kPagesAtATime; ++s) block(at + s * page, s);
  return begin;
}

struct StoreThroughCaches {
  template <class V, class D, class T>
  HWY_INLINE void operator()(V v, D d, T* to) const {
    hn::StoreU(v, d, to);
  }
};
struct StorePastCaches {  // requires whole, aligned vectors
  template <class V, class D, class T>
  HWY_INLINE void operator()(V v, D d, T* to) const {
    hn::Stream(v, d, to);
  }
};

// Converts n units from one array to another. An Operation provides the members below. They are all inlined, so that
// what they need stays in registers (GCC 12 copies lambdas that capture each other through memory):
//
//   block(i, store)   units [i, i + kVectorsPerBlock * vector_size()), whole vectors written by store()
//   vector(i)         units [i, i + vector_size())
//   single(i)         one unit
//   kBytesRead        bytes read per unit; one `Out` per unit is written to `to`
//
// `bytes` is the memory that the whole call reads and writes; this may be one of many runs of it.
template <class Operation>
HWY_INLINE void for_array(std::int64_t n, std::int64_t bytes, const Operation operation) {
  using Out = typename Operation::Out;
  constexpr std::int64_t kLine = 64, kOut = sizeof(Out);
  constexpr std::int64_t kPage = kPageBytes / Operation::kBytesRead, kGroup = kPagesAtATime * kPage;
  const std::int64_t step = operation.vector_size(), block = Operation::kVectorsPerBlock * step;
  const std::int64_t turn = HWY_MAX(block, kLine / kOut);  // bytes of a page processed before the next page
  const auto offset = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(operation.to) % kLine);
  const bool is_large = bytes > kFitsCache && offset % kOut == 0, is_past_caches = is_large && bytes > kFitsNoCache;
  const auto do_block = [=](std::int64_t i) {
    const auto* next = reinterpret_cast<const std::uint8_t*>(operation.from) + (i + kGroup) * Operation::kBytesRead;
    for (std::int64_t b = 0; b < block * Operation::kBytesRead; b += kLine) hwy::Prefetch(next + b);
    if (is_past_caches)
      operation.block(i, StorePastCaches());
    else
      operation.block(i, StoreThroughCaches());
  };
  const std::int64_t head = is_large ? HWY_MIN(n, (kLine - offset) % kLine / kOut) : 0;
  std::int64_t done = head;
  if (is_large) {
    for (; done + kGroup <= n; done += kGroup)
      for (std::int64_t line = done; line < done + kPage; line += turn)
        for (std::int64_t page = 0; page < kGroup; page += kPage)
          for (std::int64_t i = line + page; i < line + page + turn; i += block) do_block(i);
    for (; done + block <= n; done += block) do_block(done);
    if (is_past_caches) hwy::FlushStream();
  }
  // The elements before and after the aligned part.
  const std::int64_t begins[] = {0, done}, ends[] = {head, n};
  for (int part = 0; part < 2; ++part) {
    std::int64_t i = begins[part];
    const std::int64_t end = ends[part];
    for (; i + block <= end; i += block) operation.block(i, StoreThroughCaches());
    for (; i + step <= end; i += step) operation.vector(i);
    if (i == end) continue;
    if (end - begins[part] >= step)
      operation.vector(end - step);
    else
      for (; i < end; ++i) operation.single(i);
  }
}

// The same for a single run.
template <class Operation>
HWY_INLINE void for_array(std::int64_t n, const Operation operation) {
  constexpr std::int64_t kBytes = Operation::kBytesRead + static_cast<std::int64_t>(sizeof(typename Operation::Out));
  for_array(n, n * kBytes, operation);
}
