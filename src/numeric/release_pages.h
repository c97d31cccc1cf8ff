// Releases the memory of constants that lie in mapped files.
#pragma once

#include "base/mapped_file.h"
#include "bitfold/tensor.h"

namespace bitfold {

/// Releases the pages of a tensor in a mapped file; the system loads them again when they are next read.
/// Does nothing to other tensors.
inline void release_mapped_pages(const Tensor& tensor) {
  if (tensor.is_borrowed()) release_mapped_pages(std::span(tensor.bytes(), tensor.size_bytes()));
}

}  // namespace bitfold
