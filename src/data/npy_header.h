// The header of .npy files (format versions 1, 2 and 3 of numpy.lib.format):
//
//   "\x93NUMPY" | major, minor | header length (2 bytes in version 1, else 4) | header | elements
//
// The header is a Python dictionary literal with the keys descr ('<f4'), fortran_order and shape.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "data/array_reader.h"

namespace bitfold {

inline constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// The bytes of a file in order. `remaining` is the number left, which is unknown for a pipe.
struct ByteStream {
  static constexpr std::uint64_t kUnknown = std::numeric_limits<std::uint64_t>::max();
  std::function<void(std::span<std::byte>)> read;
  std::function<std::uint64_t()> remaining;
};

/// Reads the header and leaves the stream at the first element. Throws Error beginning with `where` for an invalid
/// header, and if the remaining bytes do not match the array's size.
ArrayLayout read_npy_header(const ByteStream& stream, const std::string& where);

/// Everything before the elements, padded to a multiple of 64 bytes as in NumPy. Throws Error naming `path` for an
/// element type that .npy lacks. `characters`: of strings, as in ArrayLayout.
std::string make_npy_header(const Tensor& tensor, const std::string& path, std::int64_t characters = 0);

}  // namespace bitfold
