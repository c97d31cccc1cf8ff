// NumPy's array files. .npy (format versions 1, 2 and 3 of numpy.lib.format):
//
//   "\x93NUMPY" | major, minor | header length (2 bytes in version 1, else 4) | header | elements
//
// The header is a Python dictionary literal with the keys descr ('<f4'), fortran_order and shape. .npz is a zip
// archive of them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "bitfold/tensor.h"

namespace bitfold {

/// One .npy file in memory; `name` is what messages call it. Float16 becomes float32. Never crashes on any bytes, and
/// allocates no more than the array they consistently declare. Throws Error.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name);

/// Every array of an .npz archive in memory, named without ".npy". Throws Error naming archive and array.
std::vector<NamedTensor> parse_npz(std::span<const std::byte> bytes, const std::string& name);

}  // namespace bitfold
