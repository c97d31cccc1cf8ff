// Arrays in files, read by rows: the parts of an array along its first axis, one sample each. Memory holds the rows
// that were asked for, not the array.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "bitfold/tensor.h"
#include "data/byte_source.h"

namespace bitfold {

/// How an array lies in a file.
struct ArrayLayout {
  DataType dtype = DataType::float32;
  bool big_endian = false;
  bool fortran_order = false;  ///< The first index changes fastest.
  Shape shape;

  std::int64_t row_count() const { return shape.empty() ? 1 : shape[0]; }
  std::size_t row_bytes() const;  ///< 0 for an array without rows.
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(row_count()) * row_bytes(); }
};

/// Reads rows. float16 is read as float32, and every true boolean as 1. Not for several threads at a time.
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
  /// Rows as they are stored, in C order.
  virtual void read_rows(std::int64_t first, std::int64_t count, std::span<std::byte> out) = 0;
  Tensor read(std::int64_t first, std::int64_t count, Shape shape);

  ArrayLayout layout_;
  std::string where_;
};

/// A stream of an array's elements that is read once from start to end. Throws Error when it ends early and, at its
/// end, when it turns out to be damaged.
using ElementStream = std::function<void(std::span<std::byte>)>;

/// `where` starts the messages of all three; `elements` holds exactly layout.bytes().
std::unique_ptr<ArrayReader> make_array_reader(ArrayLayout layout, ByteSource elements, std::string where);
/// `open` starts a new stream each time it is called. Elements in Fortran order are put into a temporary file.
std::unique_ptr<ArrayReader> make_array_reader(ArrayLayout layout, std::function<ElementStream()> open,
                                               std::string where);
std::unique_ptr<ArrayReader> make_array_reader(const Tensor& tensor, std::string where);

}  // namespace bitfold
