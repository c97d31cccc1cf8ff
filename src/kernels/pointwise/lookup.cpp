#include "kernels/pointwise/intrinsics.h"

namespace bitfold {

bool has_vbmi() {
#if defined(__x86_64__) && !defined(BITFOLD_PORTABLE)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

}  // namespace bitfold
