// The choice among kernels that Google Highway compiled once per instruction set.
//
// Highway's own choice asks the CPU each time, which a virtual machine answers slowly, and needs Highway's library,
// whose start takes longer than quantizing a small network. isa_cap() has asked already.
#pragma once

#include "bitfold/cpu.h"

namespace bitfold {

/// Each function returns the kernels of its instruction set; null where it was not compiled.
template <class Kernels>
const Kernels& kernels_of_target(Isa cap, const Kernels* (*avx512)(), const Kernels* (*avx2)(),
                                 const Kernels& otherwise) {
  if (cap >= Isa::avx512vnni && avx512 != nullptr) return *avx512();
  if (cap >= Isa::avx2 && avx2 != nullptr) return *avx2();
  return otherwise;
}

}  // namespace bitfold
