#include "bitfold/peaks.h"

#include <algorithm>
#include <ctime>
#include <vector>

#include "base/check.h"

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
#include <immintrin.h>
#endif

namespace bitfold {
namespace {

/// The highest rate at which run() performs units of work; it returns how many it did. Uses the CPU time of this
/// thread, because other processes may share the core.
template <class Run>
double best_rate(Run run) {
  constexpr int kRepeats = 3;
  const auto seconds = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double start = seconds();
    const auto done = static_cast<double>(run());
    best = std::max(best, done / std::max(1e-9, seconds() - start));
  }
  return best;
}

std::int64_t multiply_portable() {
  constexpr std::int64_t kSize = 64, kDepth = 256;
  static std::vector<std::int8_t> a(kSize * kDepth, 3), b(kSize * kDepth, 5);
  asm volatile("" : : "r"(a.data()), "r"(b.data()) : "memory");  // forces the arrays to be read from memory
  for (std::int64_t i = 0; i < kSize; ++i)
    for (std::int64_t j = 0; j < kSize; ++j) {
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < kDepth; ++k)
        sum += a[static_cast<std::size_t>(i * kDepth + k)] * b[static_cast<std::size_t>(j * kDepth + k)];
      asm volatile("" : : "r"(sum));
    }
  return kSize * kSize * kDepth;
}

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)

// One instruction for each of twelve independent chains, enough to hide the latency. %12 is the operand.
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

// Every sum needs a vpaddd besides the product.
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

// The products of 4 pairs of tiles. The operands are not zero, because products by 0 run at a higher clock.
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

#endif

void check_present(Isa isa) {  // detected_isa() also asks the operating system for permission to use tiles
  check(isa <= detected_isa(), "isa is {}, but this CPU supports at most {}", to_string(isa),
        to_string(detected_isa()));
}

}  // namespace

std::int64_t multiply_integers(Isa isa) {
  check_present(isa);
#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
  if (isa == Isa::amx) return multiply_amx();
  if (isa == Isa::avx512vnni) return multiply_vnni();
  if (isa == Isa::avx2) return multiply_avx2();
#endif
  (void)isa;
  return multiply_portable();
}

double integer_peak(Isa isa) {
  return isa == Isa::portable ? 0 : best_rate([isa] { return multiply_integers(isa); });
}

double float_peak(Isa isa) {
  check_present(isa);
#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
  if (isa != Isa::portable) return best_rate(isa == Isa::avx2 ? fuse_avx2 : fuse_avx512);
#endif
  return 0;
}

}  // namespace bitfold
