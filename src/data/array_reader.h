// Reads arrays from files by rows, which are the slices along the first axis. Only the requested rows are in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "bitfold/tensor.h"
#include "data/byte_source.h"

namespace bitfold {

/// The layout of an array in a file.
struct ArrayLayout {
  DataType dtype = DataType::float32;
  bool big_endian = false;
  bool fortran_order = false;  ///< The first index changes fastest.
  Shape shape;
  std::int64_t characters = 0;  ///< The length of each string, in code points of 4 bytes, filled up with 0.

  std::int64_t row_count() const { return shape.empty() ? 1 : shape[0]; }
  std::size_t row_bytes() const;  ///< 0 for an array without rows.
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(row_count()) * row_bytes(); }
};

/// Reads rows. float16 is converted to float32, and every true boolean to 1. Not thread-safe.
class ArrayReader {
 public:
  ArrayReader(ArrayLayout layout, std::string where) : layout_(std::move(layout)), where_(std::move(where)) {}
  virtual ~ArrayReader() = default;
  ArrayReader(const ArrayReader&) = delete;
  ArrayReader& operator=(const ArrayReader&) = delete;

  DataType dtype() const { return layout_.dtype == DataType::float16 ? DataType::float32 : layout_.dtype; }
  const Shape& shape() const { return layout_.shape; }
  /// Rows [first, first + count), which must exist. Fastest in ascending order. Throws Error naming file and array.
  Tensor read(std::int64_t first, std::int64_t count);
  /// The whole array.
  Tensor read();

 protected:
  const ArrayLayout& layout() const { return layout_; }
  const std::string& where() const { return where_; }

 private:
  /// Stored rows in C order.
  virtual void read_rows(std::int64_t first, std::int64_t count, std::span<std::byte> out) = 0;
  Tensor read(std::int64_t first, std::int64_t count, Shape shape);
  Tensor read_strings(std::int64_t first, std::int64_t count, Shape shape);

  ArrayLayout layout_;
  std::string where_;
};

/// A stream of an array's elements, read once from start to end. Throws Error if it ends early. Damage (a wrong
/// checksum) is an Error after the last element.
using ElementStream = std::function<void(std::span<std::byte>)>;

/// `where` begins the messages of both functions; `elements` holds exactly layout.bytes().
std::unique_ptr<ArrayReader> make_array_reader(ArrayLayout layout, ByteSource elements, std::string where);
/// `open` starts a new stream in each call. Elements in Fortran order are first written to a temporary file.
std::unique_ptr<ArrayReader> make_array_reader(ArrayLayout layout, std::function<ElementStream()> open,
                                               std::string where);

}  // namespace bitfold
