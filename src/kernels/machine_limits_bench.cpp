// The limits, and as benchmarks of their own the two that bench/check.py holds all others against: limit/copy, a copy
// of memory, and limit/product/ISA, a fixed number of products in registers.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/machine_limits.h"

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
#include <immintrin.h>
#endif

namespace bitfold::limits {
namespace {

constexpr int kRepeats = 3;

/// The most units per second that run(), which returns how many it did, reaches. Of this process's time: others may
/// share the core.
template <class Run>
double best_rate(Run run) {
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const std::clock_t start = std::clock();
    const auto done = static_cast<double>(run());
    const auto ticks = static_cast<double>(std::max<std::clock_t>(1, std::clock() - start));
    best = std::max(best, done * CLOCKS_PER_SEC / ticks);
  }
  return best;
}

std::int64_t multiply_portable() {
  constexpr std::int64_t kSize = 64, kDepth = 256;
  static std::vector<std::int8_t> a(kSize * kDepth, 3), b(kSize * kDepth, 5);
  benchmark::DoNotOptimize(a.data());
  benchmark::DoNotOptimize(b.data());
  benchmark::ClobberMemory();
  for (std::int64_t i = 0; i < kSize; ++i)
    for (std::int64_t j = 0; j < kSize; ++j) {
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < kDepth; ++k)
        sum += a[static_cast<std::size_t>(i * kDepth + k)] * b[static_cast<std::size_t>(j * kDepth + k)];
      benchmark::DoNotOptimize(sum);
    }
  return kSize * kSize * kDepth;
}

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)

// One instruction for each of twelve chains, which no latency holds up. %12 is the operand.
#define BITFOLD_TWELVE(instruction)                                                                        \
  instruction(0) instruction(1) instruction(2) instruction(3) instruction(4) instruction(5) instruction(6) \
      instruction(7) instruction(8) instruction(9) instruction(10) instruction(11)
#define BITFOLD_CHAINS(s)                                                                                     \
  "+v"(s[0]), "+v"(s[1]), "+v"(s[2]), "+v"(s[3]), "+v"(s[4]), "+v"(s[5]), "+v"(s[6]), "+v"(s[7]), "+v"(s[8]), \
      "+v"(s[9]), "+v"(s[10]), "+v"(s[11])

__attribute__((target("avx512f,avx512vnni"))) std::int64_t multiply_vnni() {
  constexpr std::int64_t kSteps = 50'000;
  __m512i s[12] = {};
  const __m512i x = _mm512_set1_epi8(1);
#define BITFOLD_STEP(n) "vpdpbusd %12, %12, %" #n "\n\t"
  for (std::int64_t i = 0; i < kSteps; ++i) asm volatile(BITFOLD_TWELVE(BITFOLD_STEP) : BITFOLD_CHAINS(s) : "v"(x));
#undef BITFOLD_STEP
  return kSteps * 12 * 64;
}

// A sum needs its vpaddd beside the product.
__attribute__((target("avx2"))) std::int64_t multiply_avx2() {
  constexpr std::int64_t kSteps = 50'000;
  __m256i s[12] = {};
  const __m256i x = _mm256_set1_epi16(1);
#define BITFOLD_STEP(n) "vpmaddwd %12, %12, %%ymm15\n\tvpaddd %%ymm15, %" #n ", %" #n "\n\t"
  for (std::int64_t i = 0; i < kSteps; ++i)
    asm volatile(BITFOLD_TWELVE(BITFOLD_STEP) : BITFOLD_CHAINS(s) : "v"(x) : "ymm15");
#undef BITFOLD_STEP
  return kSteps * 12 * 16;
}

#define BITFOLD_STEP(n) "vfmadd231ps %12, %12, %" #n "\n\t"
__attribute__((target("avx512f"))) std::int64_t fuse_avx512() {
  constexpr std::int64_t kSteps = 50'000;
  __m512 s[12] = {};
  const __m512 x = _mm512_set1_ps(1);
  for (std::int64_t i = 0; i < kSteps; ++i) asm volatile(BITFOLD_TWELVE(BITFOLD_STEP) : BITFOLD_CHAINS(s) : "v"(x));
  return kSteps * 12 * 16;
}
__attribute__((target("avx2,fma"))) std::int64_t fuse_avx2() {
  constexpr std::int64_t kSteps = 50'000;
  __m256 s[12] = {};
  const __m256 x = _mm256_set1_ps(1);
  for (std::int64_t i = 0; i < kSteps; ++i) asm volatile(BITFOLD_TWELVE(BITFOLD_STEP) : BITFOLD_CHAINS(s) : "v"(x));
  return kSteps * 12 * 8;
}
#undef BITFOLD_STEP

// The products of 4 pairs of tiles. Of numbers as they come: products by 0 run at a higher clock.
__attribute__((target("amx-tile,amx-int8"))) std::int64_t multiply_amx() {
  constexpr std::int64_t kSteps = 20'000;
  struct alignas(64) {
    std::uint8_t palette = 1, reserved[15] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const config;
  alignas(64) std::uint8_t bytes[16 * 64];
  for (int i = 0; i < 16 * 64; ++i) bytes[i] = static_cast<std::uint8_t>(i * 31);
  asm volatile("ldtilecfg %0" : : "m"(config));
  asm volatile(
      "tileloadd (%0,%1), %%tmm4\n\ttileloadd (%0,%1), %%tmm5\n\t"
      "tileloadd (%0,%1), %%tmm6\n\ttileloadd (%0,%1), %%tmm7"
      :
      : "r"(bytes), "r"(std::int64_t{64})
      : "memory");
  for (std::int64_t i = 0; i < kSteps; ++i)
    asm volatile(
        "tdpbusd %tmm6, %tmm4, %tmm0\n\ttdpbusd %tmm6, %tmm5, %tmm1\n\t"
        "tdpbusd %tmm7, %tmm4, %tmm2\n\ttdpbusd %tmm7, %tmm5, %tmm3");
  asm volatile("tilerelease");
  return kSteps * 4 * 16 * 16 * 64;
}

enum class Store { plain, non_temporal };

// `count` times: kReads vectors read, kWrites written; from one place, or from several pages in turn while the next
// ones are asked for. What is read is kept by an asm statement that does nothing.
template <int kReads, int kWrites, Store kStore, int kPages>
__attribute__((target("avx512f"))) void move_avx512(const __m512i* from, __m512i* to, std::int64_t count) {
  const std::int64_t page = kPages == 1 ? count : std::max(1, 64 / kReads);
  for (std::int64_t begin = 0; begin + kPages * page <= count; begin += kPages * page)
    for (std::int64_t at = begin; at < begin + page; ++at)
      for (int p = 0; p < kPages; ++p) {
        const __m512i* source = from + (at + p * page) * kReads;
        __m512i* target = to + (at + p * page) * kWrites;
        for (int r = 0; kPages > 1 && r < kReads; ++r) _mm_prefetch(source + kPages * page * kReads + r, _MM_HINT_T0);
        __m512i x = _mm512_loadu_si512(source);
        for (int r = 1; r < kReads; ++r) x = _mm512_xor_si512(x, _mm512_loadu_si512(source + r));
        asm volatile("" : : "v"(x));
        for (int w = 0; w < kWrites; ++w) {
          if (kStore == Store::plain)
            _mm512_storeu_si512(target + w, x);
          else
            _mm512_stream_si512(target + w, x);
        }
      }
  _mm_sfence();
}
template <int kReads, int kWrites, Store kStore, int kPages>
__attribute__((target("avx2"))) void move_avx2(const __m256i* from, __m256i* to, std::int64_t count) {
  const std::int64_t page = kPages == 1 ? count : std::max(1, 128 / kReads);
  for (std::int64_t begin = 0; begin + kPages * page <= count; begin += kPages * page)
    for (std::int64_t at = begin; at < begin + page; ++at)
      for (int p = 0; p < kPages; ++p) {
        const __m256i* source = from + (at + p * page) * kReads;
        __m256i* target = to + (at + p * page) * kWrites;
        for (int r = 0; kPages > 1 && r < kReads; ++r) _mm_prefetch(source + kPages * page * kReads + r, _MM_HINT_T0);
        __m256i x = _mm256_loadu_si256(source);
        for (int r = 1; r < kReads; ++r) x = _mm256_xor_si256(x, _mm256_loadu_si256(source + r));
        asm volatile("" : : "v"(x));
        for (int w = 0; w < kWrites; ++w) {
          if (kStore == Store::plain)
            _mm256_storeu_si256(target + w, x);
          else
            _mm256_stream_si256(target + w, x);
        }
      }
  _mm_sfence();
}

template <int kReads, int kWrites, Store kStore, int kPages>
void move(const void* from, void* to, std::int64_t bytes_read) {
  if (detected_isa() >= Isa::avx512vnni)
    move_avx512<kReads, kWrites, kStore, kPages>(static_cast<const __m512i*>(from), static_cast<__m512i*>(to),
                                                 bytes_read / (64 * kReads));
  else if (detected_isa() >= Isa::avx2)
    move_avx2<kReads, kWrites, kStore, kPages>(static_cast<const __m256i*>(from), static_cast<__m256i*>(to),
                                               bytes_read / (32 * kReads));
  else
    std::memcpy(to, from, static_cast<std::size_t>(kWrites == 0 ? 0 : bytes_read / kReads * std::min(kReads, kWrites)));
}

template <int kReads, int kWrites>
double best_bandwidth(const void* from, void* to, std::int64_t bytes_read) {
  const std::int64_t bytes = bytes_read + bytes_read / kReads * kWrites;
  const std::int64_t passes =
      std::max<std::int64_t>(1, (std::int64_t{8} << 20) / bytes);  // longer than the clock's tick
  const auto rate = [&]<Store kStore, int kPages>() {
    return best_rate([&] {
      for (std::int64_t pass = 0; pass < passes; ++pass) move<kReads, kWrites, kStore, kPages>(from, to, bytes_read);
      return passes * bytes;
    });
  };
  const double plain = rate.template operator()<Store::plain, 1>();
  if (bytes < (std::int64_t{1} << 20)) return plain;  // in a cache, which pages and other stores do not help
  return std::max({plain, rate.template operator()<Store::plain, 4>(),
                   kWrites == 0 ? 0 : rate.template operator()<Store::non_temporal, 1>(),
                   kWrites == 0 ? 0 : rate.template operator()<Store::non_temporal, 4>()});
}

#endif

}  // namespace

bool is_plain() {
  static const bool plain = std::getenv("BITFOLD_BENCH_PLAIN") != nullptr;
  return plain;
}

std::int64_t multiply_integers(Isa isa) {
#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
  if (isa == Isa::amx) return multiply_amx();
  if (isa == Isa::avx512vnni) return multiply_vnni();
  if (isa == Isa::avx2) return multiply_avx2();
#endif
  (void)isa;
  return multiply_portable();
}

double integer_peak(Isa isa) {
  return isa == Isa::portable || is_plain() ? 0 : best_rate([isa] { return multiply_integers(isa); });
}

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
double float_peak(Isa isa) {
  if (isa == Isa::portable || is_plain()) return 0;
  return best_rate(isa == Isa::avx2 ? fuse_avx2 : fuse_avx512);
}

double bandwidth(int reads, int writes, const void* from, void* to, std::int64_t bytes_read) {
  switch (10 * reads + writes) {
    case 10:
      return best_bandwidth<1, 0>(from, to, bytes_read);
    case 41:
      return best_bandwidth<4, 1>(from, to, bytes_read);
    case 14:
      return best_bandwidth<1, 4>(from, to, bytes_read);
    case 11:
      return best_bandwidth<1, 1>(from, to, bytes_read);
    case 21:
      return best_bandwidth<2, 1>(from, to, bytes_read);
    case 12:
      return best_bandwidth<1, 2>(from, to, bytes_read);
    default:
      throw std::invalid_argument("bandwidth: no such ratio of reads and writes");
  }
}
#else
double float_peak(Isa) { return 0; }
double bandwidth(int, int, const void*, void*, std::int64_t) { return 0; }
#endif

void count_bandwidth(benchmark::State& state, int reads, int writes, const void* from, void* to,
                     std::int64_t bytes_read) {
  const double bytes =
      static_cast<double>(bytes_read) * (reads + writes) / reads * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsRate);
  const double limit = is_plain() ? 0 : bandwidth(reads, writes, from, to, bytes_read);
  if (limit > 0) state.counters["of_bandwidth"] = benchmark::Counter(bytes / limit, benchmark::Counter::kIsRate);
}

namespace {

void copy(benchmark::State& state) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  static const std::vector<char> from(kBytes, 1);
  static std::vector<char> to(kBytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), kBytes);
    benchmark::ClobberMemory();
  }
  const auto bytes = static_cast<double>(2 * kBytes) * static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsRate);
}

void product(benchmark::State& state, Isa isa) {
  std::int64_t done = 0;
  for (auto _ : state) done += multiply_integers(isa);
  state.counters["TOPS"] = benchmark::Counter(2 * static_cast<double>(done) / 1e12, benchmark::Counter::kIsRate);
}

const bool kRegistered = [] {
  benchmark::RegisterBenchmark("limit/copy", copy);
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512vnni, Isa::amx})
    if (isa <= detected_isa())
      benchmark::RegisterBenchmark(("limit/product/" + std::string(to_string(isa))).c_str(), product, isa);
  return true;
}();

}  // namespace
}  // namespace bitfold::limits
