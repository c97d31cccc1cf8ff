// Walking over arrays in vectors. Included once per instruction set, inside its namespace (see simd.cpp).
//
// Memory is read faster from several pages at a time than from one, as the hardware's prefetchers end at a page, and
// faster still if the next pages are asked for meanwhile. And what is written and fits no cache is best written past
// them, or each line is first read. All that changes only the order in which elements are done, and every element is
// done alone.

namespace hn = hwy::HWY_NAMESPACE;

const hn::ScalableTag<float> kFloats;
const hn::RebindToSigned<decltype(kFloats)> kInts;
using FloatVector = hn::Vec<decltype(kFloats)>;
using IntVector = hn::Vec<decltype(kInts)>;

HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(kFloats)); }

constexpr std::int64_t kPageBytes = 4096, kPagesAtATime = 4;
constexpr std::int64_t kFitsCache = std::int64_t{2} << 20;     // bytes read and written; the second-level cache
constexpr std::int64_t kFitsNoCache = std::int64_t{32} << 20;  // where whoever reads the result will not find it there

// Calls block(i, s) for each block of [0, n), from kPagesAtATime pages in turn, s their number; returns the first
// element that was left out, being in no whole group of pages. `page` is a multiple of `size`.
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
struct StorePastCaches {  // whole vectors, aligned
  template <class V, class D, class T>
  HWY_INLINE void operator()(V v, D d, T* to) const {
    hn::Stream(v, d, to);
  }
};

// n units from an array to another. An Operation says how, by members which are all inlined and so keep what they need
// in registers (of lambdas that capture each other, GCC 12 copies it through memory):
//
//   block(i, store)   units [i, i + kVectorsPerBlock * vector_size()), whole vectors written by store()
//   vector(i)         units [i, i + vector_size())
//   single(i)         one unit
//   kBytesRead        of a unit; Out, of which one is written for each, to `to`
//
// `bytes` of memory are read and written by all that the caller does, of which this may be one run of many.
template <class Operation>
HWY_INLINE void for_array(std::int64_t n, std::int64_t bytes, const Operation operation) {
  using Out = typename Operation::Out;
  constexpr std::int64_t kLine = 64, kOut = sizeof(Out);
  constexpr std::int64_t kPage = kPageBytes / Operation::kBytesRead, kGroup = kPagesAtATime * kPage;
  const std::int64_t step = operation.vector_size(), block = Operation::kVectorsPerBlock * step;
  const std::int64_t turn = HWY_MAX(block, kLine / kOut);  // what is done of a page before the next
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
  // What lies before and behind.
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

// The same as all there is.
template <class Operation>
HWY_INLINE void for_array(std::int64_t n, const Operation operation) {
  constexpr std::int64_t kBytes = Operation::kBytesRead + static_cast<std::int64_t>(sizeof(typename Operation::Out));
  for_array(n, n * kBytes, operation);
}
