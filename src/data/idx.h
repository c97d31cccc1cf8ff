// IDX, the format of the MNIST files (yann.lecun.com/exdb/mnist, "THE IDX FILE FORMAT"):
//
//   0, 0, element type, number of dimensions | each dimension, 4 bytes | elements        all big-endian
//
// plain or gzipped.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bitfold/tensor.h"
#include "data/array_reader.h"

namespace bitfold {

/// Parses one IDX file in memory, gzipped or not. `name` is used in messages. Safe for any bytes; allocates no more
/// than they consistently declare. Throws Error.
Tensor parse_idx(std::span<const std::byte> bytes, const std::string& name);

/// Reads the header of an IDX file. Its elements are read by rows, as they are asked for. Throws Error.
std::unique_ptr<ArrayReader> open_idx(const std::string& path);

/// The files of one set. `labels` is empty if there are none.
struct IdxFiles {
  std::filesystem::path images, labels;
};

/// The set in `folder`: a name with "images" and "idx3" in it, and the same name with "labels" and "idx1". Empty if
/// there is no such file. Throws Error if there are several sets.
std::optional<IdxFiles> find_idx_files(const std::filesystem::path& folder);

/// The set of a file of images; empty if the name has another form.
std::optional<IdxFiles> find_idx_files_of(const std::filesystem::path& images);

}  // namespace bitfold
