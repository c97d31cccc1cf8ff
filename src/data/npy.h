// NumPy's array files: .npy (npy_header.h), and .npz, a zip archive of them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "bitfold/tensor.h"
#include "data/array_reader.h"

namespace bitfold {

/// Parses one .npy file in memory. `name` is used in messages. Float16 becomes float32. Safe for any bytes; allocates
/// no more than the array they consistently declare. Throws Error.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name);

/// Every array of an .npz archive in memory, named without ".npy". Throws Error naming archive and array.
std::vector<NamedTensor> parse_npz(std::span<const std::byte> bytes, const std::string& name);

/// An array of an .npz, or the one array of an .npy (name empty).
struct StoredArray {
  std::string name;
  std::unique_ptr<ArrayReader> reader;
};

/// The arrays of a regular .npy or .npz file; their elements are read on demand. Damage of an archive's elements is
/// detected when the last of them have been read. Throws Error naming file and array.
std::vector<StoredArray> open_npy(const std::string& path);

}  // namespace bitfold
