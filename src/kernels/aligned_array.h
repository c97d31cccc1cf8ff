// Arrays that kernels read in vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/memory.h"

namespace bitfold {

/// Begins at a multiple of 64 bytes, so that no row of 16 words or 64 bytes lies across two cache lines.
template <class T>
using AlignedArray = std::shared_ptr<T[]>;

/// A piece of `memory` where that is given, else memory of its own.
template <class T>
AlignedArray<T> zeroed_array(std::int64_t count, MemoryPieces* memory = nullptr) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
  const auto piece = memory != nullptr ? memory->take(bytes) : allocate_zeroed(bytes);
  return {piece, reinterpret_cast<T*>(piece.get())};
}

}  // namespace bitfold
