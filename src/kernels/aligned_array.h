// Arrays that kernels read in vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/memory.h"

namespace bitfold {

/// Aligned to 64 bytes, so that a row of 16 words or 64 bytes never crosses a cache line.
template <class T>
using AlignedArray = std::shared_ptr<T[]>;

/// Allocates from `memory` if it is given, else from the heap.
template <class T>
AlignedArray<T> zeroed_array(std::int64_t count, MemoryPieces* memory = nullptr) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
  const auto piece = memory != nullptr ? memory->take(bytes) : allocate_zeroed(bytes);
  return {piece, reinterpret_cast<T*>(piece.get())};
}

}  // namespace bitfold
