// The oneDNN engine, and one stream per thread. Included by onednn/*.cpp only, because it includes dnnl.hpp.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <dnnl.hpp>

#include "base/check.h"

namespace bitfold::onednn {

inline constexpr auto kFloat = dnnl::memory::data_type::f32;

inline const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

inline dnnl::stream& stream() {
  static thread_local dnnl::stream stream(cpu());
  return stream;
}

/// Call before a primitive is created. oneDNN does not check whether it gets memory for the code that it generates, and
/// writes to address 0 otherwise. Throws Error if the process may not map some megabytes more.
inline void check_room_for_code() {
  constexpr std::size_t kBytes = std::size_t{16} << 20;
  void* const room = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) fail("out of memory: oneDNN needs room for its code");
  munmap(room, kBytes);
}

}  // namespace bitfold::onednn
