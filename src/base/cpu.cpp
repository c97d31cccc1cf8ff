#include "bitfold/cpu.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "base/check.h"

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace bitfold {
namespace {

constexpr std::array<std::pair<std::string_view, Isa>, 4> kIsaNames{{
    {"portable", Isa::portable},
    {"avx2", Isa::avx2},
    {"avx512vnni", Isa::avx512vnni},
    {"amx", Isa::amx},
}};

#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
// A process must ask Linux for permission before it uses tiles, because they make its saved state 8 KiB larger.
// Compilers' __builtin_cpu_supports() does not do this. The permission holds for all threads of the process, including
// those already running.
bool obtain_amx() {
#if defined(__linux__)
  constexpr unsigned kTile = 1U << 24, kInt8 = 1U << 25;              // CPUID 7, EDX
  constexpr unsigned kOsUsesXsave = 1U << 27, kTileState = 3U << 17;  // CPUID 1, ECX; XCR0: configuration and data
  constexpr long kRequestPermission = 0x1023, kTileData = 18;         // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsUsesXsave) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTile) == 0 || (d & kInt8) == 0) return false;
  unsigned xcr0 = 0, high = 0;
  asm("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  return (xcr0 & kTileState) == kTileState && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

Isa detect() {
#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
  // libgcc's test includes operating system support: it reads XCR0 before it reports AVX.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
  if (!avx2) return Isa::portable;
  const bool vnni = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!vnni) return Isa::avx2;
  return obtain_amx() ? Isa::amx : Isa::avx512vnni;
#else
  return Isa::portable;
#endif
}

}  // namespace

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa isa_cap() {
  const char* word = std::getenv("BITFOLD_ISA");
  if (word == nullptr || *word == '\0') return detected_isa();
  return std::min(parse_isa(word), detected_isa());
}

std::string_view to_string(Isa isa) { return kIsaNames[static_cast<std::size_t>(isa)].first; }

Isa parse_isa(std::string_view word) {
  for (const auto& [name, isa] : kIsaNames)
    if (name == word) return isa;
  fail("BITFOLD_ISA is '{}'; expected portable, avx2, avx512vnni or amx", word);
}

int usable_threads() { return omp_get_max_threads(); }

void limit_threads(int count) {
  check(count >= 1 && count <= kMaxThreads, "threads is {}; expected 1 to {}", count, kMaxThreads);
  omp_set_num_threads(count);
}

int thread_count(int threads) {
  check(threads >= 0 && threads <= kMaxThreads, "threads is {}; expected 0 (all cores) to {}", threads, kMaxThreads);
  return threads > 0 ? threads : usable_threads();
}

}  // namespace bitfold
