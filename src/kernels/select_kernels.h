// Selects among kernels that Google Highway compiled once per instruction set.
//
// Highway's own dispatch asks the CPU each time, which is slow in a virtual machine, and needs Highway's library, whose
// start takes longer than quantizing a small network. isa_cap() has already asked.
#pragma once

#include "bitfold/cpu.h"

namespace bitfold {

/// Each function returns the kernels of its instruction set, or null if they were not compiled.
template <class Kernels>
const Kernels& select_kernels(Isa cap, const Kernels* (*avx512)(), const Kernels* (*avx2)(), const Kernels& otherwise) {
  if (cap >= Isa::avx512vnni && avx512 != nullptr) return *avx512();
  if (cap >= Isa::avx2 && avx2 != nullptr) return *avx2();
  return otherwise;
}

}  // namespace bitfold
