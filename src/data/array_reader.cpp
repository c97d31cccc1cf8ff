#include "data/array_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"

namespace bitfold {
namespace {

std::size_t element_bytes(DataType dtype) { return static_cast<std::size_t>(bit_width(dtype)) / 8; }

float half_to_float(std::uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  float magnitude = 0;
  if (exponent == 31) {
    magnitude = mantissa == 0 ? INFINITY : NAN;
  } else {
    // 2^-24 is the smallest subnormal; normal numbers have an implied leading bit.
    magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                              : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

Tensor widen_halves(const Tensor& halves) {
  Tensor wide = Tensor::uninitialized(DataType::float32, halves.shape());
  const auto out = wide.mutable_data<float>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, halves.bytes() + 2 * i, 2);
    out[i] = half_to_float(half);
  }
  return wide;
}

void reverse_elements(Tensor& tensor) {
  const std::size_t width = element_bytes(tensor.dtype());
  std::byte* bytes = tensor.mutable_bytes();
  for (std::size_t at = 0; at < tensor.size_bytes(); at += width) std::reverse(bytes + at, bytes + at + width);
}

// Reads rows that are stored one after the other (C order).
class PlacedRows : public ArrayReader {
 public:
  PlacedRows(ArrayLayout layout, ByteSource elements, std::string where)
      : ArrayReader(std::move(layout), std::move(where)), elements_(std::move(elements)) {}

 private:
  void read_rows(std::int64_t first, std::int64_t /*count*/, std::span<std::byte> out) override {
    elements_.read(static_cast<std::uint64_t>(first) * layout().row_bytes(), out);
  }
  ByteSource elements_;
};

// Rows in Fortran order: element i of all rows lies together, then element i + 1 of all rows. These columns are
// themselves in Fortran order.
class FortranRows : public ArrayReader {
 public:
  FortranRows(ArrayLayout layout, ByteSource elements, std::string where)
      : ArrayReader(std::move(layout), std::move(where)), elements_(std::move(elements)) {}

 private:
  void read_rows(std::int64_t first, std::int64_t count, std::span<std::byte> out) override {
    const std::size_t width = element_bytes(layout().dtype);
    const auto rows = static_cast<std::size_t>(layout().row_count()), wanted = static_cast<std::size_t>(count);
    const std::size_t columns = layout().row_bytes() / width;
    // Short columns are read many at a time. Of a long column, only the requested part is read.
    constexpr std::size_t kBlockBytes = std::size_t{1} << 18, kShortColumnBytes = 8192;
    const bool is_short = rows * width <= kShortColumnBytes;
    const std::size_t block = is_short ? std::max<std::size_t>(1, kBlockBytes / (rows * width)) : 1;
    const std::size_t start = is_short ? static_cast<std::size_t>(first) * width : 0;
    buffer_.resize(is_short ? block * rows * width : wanted * width);
    Columns order(layout().shape);
    for (std::size_t column = 0; column < columns; column += block) {
      const std::size_t read = std::min(block, columns - column);
      const std::uint64_t at = std::uint64_t{column} * rows * width;
      if (is_short)
        elements_.read(at, std::span(buffer_).first(read * rows * width));
      else
        elements_.read(at + static_cast<std::uint64_t>(first) * width, buffer_);
      for (std::size_t i = 0; i < read; ++i, order.advance()) {
        const std::byte* from = buffer_.data() + i * rows * width + start;
        std::byte* to = out.data() + order.place() * width;
        for (std::size_t row = 0; row < wanted; ++row, from += width, to += columns * width)
          std::memcpy(to, from, width);
      }
    }
  }

  // Visits the elements of one row in Fortran order; place() is the position of each in C order.
  class Columns {
   public:
    explicit Columns(const Shape& shape) : shape_(shape), stride_(shape.size(), 1), index_(shape.size(), 0) {
      for (std::size_t axis = shape.size(); axis-- > 1;) stride_[axis - 1] = stride_[axis] * shape[axis];
    }
    std::size_t place() const { return static_cast<std::size_t>(place_); }
    void advance() {
      for (std::size_t axis = 1; axis < shape_.size(); ++axis) {
        place_ += stride_[axis];
        if (++index_[axis] < shape_[axis]) return;
        place_ -= stride_[axis] * shape_[axis];
        index_[axis] = 0;
      }
    }

   private:
    const Shape& shape_;
    std::vector<std::int64_t> stride_, index_;
    std::int64_t place_ = 0;
  };

  ByteSource elements_;
  std::vector<std::byte> buffer_;
};

// Reads rows from a stream. Reading an earlier row restarts the stream.
class StreamedRows : public ArrayReader {
 public:
  StreamedRows(ArrayLayout layout, std::function<ElementStream()> open, std::string where)
      : ArrayReader(std::move(layout), std::move(where)), open_(std::move(open)) {}

 private:
  void read_rows(std::int64_t first, std::int64_t /*count*/, std::span<std::byte> out) override {
    const std::uint64_t at = static_cast<std::uint64_t>(first) * layout().row_bytes();
    if (!stream_ || at < position_) {
      stream_ = open_();
      position_ = 0;
    }
    std::vector<std::byte> skipped;
    while (position_ < at) {
      constexpr std::uint64_t kSkippedAtOnce = 1 << 16;
      skipped.resize(std::min(kSkippedAtOnce, at - position_));
      stream_(skipped);
      position_ += skipped.size();
    }
    stream_(out);
    position_ += out.size();
  }

  std::function<ElementStream()> open_;
  ElementStream stream_;
  std::uint64_t position_ = 0;
};

// A file without a name, which disappears when it is closed.
int open_temporary(const std::string& where) {
  std::error_code error;
  std::string path = (std::filesystem::temp_directory_path(error) / "bitfold-XXXXXX").string();
  const int descriptor = error ? -1 : ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0)
    fail("{}: a temporary file cannot be created: {}", where, error ? error.message() : std::strerror(errno));
  ::unlink(path.c_str());
  return descriptor;
}

ByteSource on_disk(const ElementStream& stream, std::uint64_t size, const std::string& where) {
  const int descriptor = open_temporary(where);
  std::vector<std::byte> block;
  for (std::uint64_t done = 0; done < size;) {
    constexpr std::uint64_t kBlockBytes = 1 << 20;
    block.resize(std::min(kBlockBytes, size - done));
    std::span<const std::byte> left = block;
    try {
      stream(block);
      while (!left.empty()) {
        const ssize_t written = ::write(descriptor, left.data(), left.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) fail("{}: a temporary file cannot be written: {}", where, std::strerror(errno));
        left = left.subspan(static_cast<std::size_t>(written));
      }
    } catch (...) {
      ::close(descriptor);
      throw;
    }
    done += block.size();
  }
  return ByteSource(std::make_shared<const InputFile>(descriptor, "a temporary file"));
}

bool needs_turning(const ArrayLayout& layout) {
  return layout.fortran_order && layout.shape.size() > 1 && layout.bytes() > 0;
}

}  // namespace

std::size_t ArrayLayout::row_bytes() const {
  if (row_count() == 0) return 0;
  const std::int64_t elements = element_count(shape) / row_count();
  if (dtype == DataType::string) return storage_bytes(DataType::uint32, element_count({elements, characters}));
  return storage_bytes(dtype, elements);
}

Tensor ArrayReader::read(std::int64_t first, std::int64_t count, Shape shape) {
  if (layout_.dtype == DataType::string) return read_strings(first, count, std::move(shape));
  Tensor tensor = Tensor::uninitialized(layout_.dtype, std::move(shape));
  read_rows(first, count, {tensor.mutable_bytes(), tensor.size_bytes()});
  if (layout_.big_endian != (std::endian::native == std::endian::big)) reverse_elements(tensor);
  if (layout_.dtype == DataType::boolean) {
    // Every byte except 0 is true in NumPy; in C++ only 1 is.
    std::byte* bytes = tensor.mutable_bytes();
    for (std::size_t i = 0; i < tensor.size_bytes(); ++i) bytes[i] = std::byte{bytes[i] != std::byte{0}};
  }
  return layout_.dtype == DataType::float16 ? widen_halves(tensor) : tensor;
}

Tensor ArrayReader::read_strings(std::int64_t first, std::int64_t count, Shape shape) {
  Tensor strings(DataType::string, std::move(shape));
  Tensor points(DataType::uint32, {strings.size(), layout_.characters});
  read_rows(first, count, {points.mutable_bytes(), points.size_bytes()});
  if (layout_.big_endian != (std::endian::native == std::endian::big)) reverse_elements(points);
  const auto all = points.data<std::uint32_t>();
  const auto length = static_cast<std::size_t>(layout_.characters);
  std::size_t at = 0;
  for (std::string& text : strings.mutable_data<std::string>()) {
    std::u32string own(all.begin() + static_cast<std::ptrdiff_t>(at),
                       all.begin() + static_cast<std::ptrdiff_t>(at + length));
    own.resize(own.find_last_not_of(U'\0') + 1);
    text = to_utf8(own);
    at += length;
  }
  return strings;
}

Tensor ArrayReader::read(std::int64_t first, std::int64_t count) {
  check(first >= 0 && count >= 0 && count <= layout_.row_count() - first,
        "{}: rows {} to {} were requested, but it has {} rows", where_, first, first + count, layout_.row_count());
  Shape shape = layout_.shape;
  if (!shape.empty()) shape[0] = count;
  return read(first, count, std::move(shape));
}

Tensor ArrayReader::read() { return read(0, layout_.row_count(), layout_.shape); }

std::unique_ptr<ArrayReader> make_array_reader(ArrayLayout layout, ByteSource elements, std::string where) {
  if (needs_turning(layout))
    return std::make_unique<FortranRows>(std::move(layout), std::move(elements), std::move(where));
  return std::make_unique<PlacedRows>(std::move(layout), std::move(elements), std::move(where));
}

std::unique_ptr<ArrayReader> make_array_reader(ArrayLayout layout, std::function<ElementStream()> open,
                                               std::string where) {
  if (!needs_turning(layout))
    return std::make_unique<StreamedRows>(std::move(layout), std::move(open), std::move(where));
  ByteSource elements = on_disk(open(), layout.bytes(), where);
  return std::make_unique<FortranRows>(std::move(layout), std::move(elements), std::move(where));
}

}  // namespace bitfold
