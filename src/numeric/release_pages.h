// Giving back the memory of constants that lie in mapped files.
#pragma once

#include "base/mapped_file.h"
#include "bitfold/tensor.h"

namespace bitfold {

/// Takes the pages of a tensor that lies in a mapped file out of memory; they are loaded again when it is next read.
/// Does nothing to other tensors.
inline void release_mapped_pages(const Tensor& tensor) {
  if (tensor.is_borrowed()) release_mapped_pages(std::span(tensor.bytes(), tensor.size_bytes()));
}

}  // namespace bitfold
