#include "bitfold/cpu.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace bitfold {
namespace {

constexpr std::array<std::pair<std::string_view, Isa>, 4> kIsaNames{{
    {"portable", Isa::portable},
    {"avx2", Isa::avx2},
    {"avx512vnni", Isa::avx512vnni},
    {"amx", Isa::amx},
}};

Isa detect() {
#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
  // libgcc's test covers the operating system's side too: it reads XCR0 before it reports AVX.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::portable;
  const bool vnni = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return vnni ? Isa::avx512vnni : Isa::avx2;
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

}  // namespace bitfold
