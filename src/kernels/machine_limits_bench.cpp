// Measures the limits, and publishes the two that bench/check.py compares all others with as benchmarks: limit/copy, a
// copy of memory, and limit/product/ISA, a fixed number of products in registers.
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

/// The highest rate at which run() performs units of work; it returns how many it did. Uses the CPU time of this
/// process, because other processes may share the core.
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

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)

enum class Store { plain, non_temporal };

// `count` times: reads kReads vectors and writes kWrites, from one place, or from several pages in turn while the next
// ones are prefetched. An empty asm statement keeps the loads.
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
      std::max<std::int64_t>(1, (std::int64_t{8} << 20) / bytes);  // longer than the clock's resolution
  const auto rate = [&]<Store kStore, int kPages>() {
    return best_rate([&] {
      for (std::int64_t pass = 0; pass < passes; ++pass) move<kReads, kWrites, kStore, kPages>(from, to, bytes_read);
      return passes * bytes;
    });
  };
  const double plain = rate.template operator()<Store::plain, 1>();
  if (bytes < (std::int64_t{1} << 20)) return plain;  // fits a cache, where several pages and other stores do not help
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

double integer_peak(Isa isa) { return is_plain() ? 0 : bitfold::integer_peak(isa); }
double float_peak(Isa isa) { return is_plain() ? 0 : bitfold::float_peak(isa); }

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
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
