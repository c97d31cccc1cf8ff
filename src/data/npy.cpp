#include "data/npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>
#include <set>

#include "base/check.h"
#include "base/file.h"
#include "data/zip.h"

namespace bitfold {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct Header {
  DataType dtype = DataType::float32;  // as in the file
  bool big_endian = false;
  bool fortran_order = false;
  Shape shape;
};

// The Python literal of a header, and nothing beyond: a dictionary with exactly the three keys.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Header parse() {
    Header header;
    std::set<std::string> seen;
    expect('{');
    while (!accept('}')) {
      const std::string key(string());
      expect(':');
      if (!seen.insert(key).second) broken(fmt::format("key '{}' occurs twice", key));
      if (key == "descr") {
        element_type(header);
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
      } else if (key == "shape") {
        header.shape = shape();
      } else {
        broken(fmt::format("unknown key '{}'", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) broken("text after the dictionary");
    if (seen.size() != 3) broken("it needs the keys descr, fortran_order and shape");
    return header;
  }

 private:
  [[noreturn]] void broken(const std::string& why) const { fail("{}: bad .npy header: {}", name_, why); }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) broken(fmt::format("'{}' expected at column {}", c, at_));
  }
  std::string_view string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') broken(fmt::format("a string expected at column {}", at_));
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) broken("a string does not end");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    broken("fortran_order is neither True nor False");
  }
  Shape shape() {
    Shape dims;
    constexpr std::size_t kMostDims = 64;  // of NumPy itself
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t dim = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0) broken("a dimension is no natural number below 2^63");
      at_ = static_cast<std::size_t>(end - text_.data());
      accept('L');  // a long integer of Python 2
      dims.push_back(dim);
      if (dims.size() > kMostDims) broken("more than 64 dimensions");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return dims;
  }
  void element_type(Header& header) {
    skip_space();
    check(at_ < text_.size() && text_[at_] != '[', "{}: holds records with named fields; only plain arrays work",
          name_);
    const std::string_view descr = string();
    constexpr std::array<std::pair<std::string_view, DataType>, 12> kTypes{{{"f2", DataType::float16},
                                                                            {"f4", DataType::float32},
                                                                            {"f8", DataType::float64},
                                                                            {"i1", DataType::int8},
                                                                            {"i2", DataType::int16},
                                                                            {"i4", DataType::int32},
                                                                            {"i8", DataType::int64},
                                                                            {"u1", DataType::uint8},
                                                                            {"u2", DataType::uint16},
                                                                            {"u4", DataType::uint32},
                                                                            {"u8", DataType::uint64},
                                                                            {"b1", DataType::boolean}}};
    const bool has_order = !descr.empty() && std::string_view("<>|=").find(descr[0]) != std::string_view::npos;
    const std::string_view code = descr.substr(has_order ? 1 : 0);
    const auto* type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& row) { return row.first == code; });
    check(type != kTypes.end(), "{}: holds elements of type '{}'; f2, f4, f8, i1 to i8, u1 to u8 and b1 work", name_,
          descr);
    header.dtype = type->second;
    header.big_endian = descr[0] == '>';
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

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

void reverse_elements(Tensor& tensor) {
  const std::size_t width = static_cast<std::size_t>(bit_width(tensor.dtype())) / 8;
  std::byte* bytes = tensor.mutable_bytes();
  for (std::size_t at = 0; at < tensor.size_bytes(); at += width) std::reverse(bytes + at, bytes + at + width);
}

// Elements in Fortran order (first index fastest) to C order.
Tensor to_c_order(const Tensor& fortran) {
  const std::size_t width = static_cast<std::size_t>(bit_width(fortran.dtype())) / 8;
  const Shape& shape = fortran.shape();
  Tensor tensor(fortran.dtype(), shape);
  std::vector<std::int64_t> stride(shape.size(), 1), index(shape.size(), 0);
  for (std::size_t axis = 1; axis < shape.size(); ++axis) stride[axis] = stride[axis - 1] * shape[axis - 1];
  std::byte* out = tensor.mutable_bytes();
  std::int64_t from = 0;
  for (std::int64_t i = 0; i < tensor.size(); ++i, out += width) {
    std::memcpy(out, fortran.bytes() + static_cast<std::size_t>(from) * width, width);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return tensor;
}

// Where an array's bytes come from: memory, or an archive's entry as it is inflated.
struct Source {
  std::function<void(std::span<std::byte>)> read;
  std::function<std::uint64_t()> remaining;
};

Header read_header(const Source& source, const std::string& name) {
  std::array<std::byte, 8> start{};
  check(source.remaining() >= start.size(), "{}: not an .npy array: {} bytes", name, source.remaining());
  source.read(start);
  check(std::memcmp(start.data(), kMagic.data(), kMagic.size()) == 0, "{}: not an .npy array", name);
  const int major = std::to_integer<int>(start[6]), minor = std::to_integer<int>(start[7]);
  check(major >= 1 && major <= 3 && minor == 0, "{}: .npy format {}.{} is unknown; 1.0, 2.0 and 3.0 work", name, major,
        minor);
  std::array<std::byte, 4> length_bytes{};
  const std::size_t width = major == 1 ? 2 : 4;
  check(source.remaining() >= width, "{}: truncated in its header", name);
  source.read(std::span(length_bytes).first(width));
  std::size_t length = 0;
  for (std::size_t i = 0; i < width; ++i) length |= std::to_integer<std::size_t>(length_bytes[i]) << (8 * i);
  constexpr std::size_t kLongestHeader = 1 << 16;  // a shape of 64 dimensions takes some 1300 bytes
  check(length <= kLongestHeader, "{}: its header claims {} bytes", name, length);
  check(source.remaining() >= length, "{}: truncated in its header", name);
  std::string text(length, '\0');
  source.read(std::as_writable_bytes(std::span(text)));
  return HeaderParser(text, name).parse();
}

Tensor read_array(const Source& source, const std::string& name) {
  const Header header = read_header(source, name);
  std::int64_t count = 0;
  try {
    count = element_count(header.shape);
  } catch (const Error& error) {
    fail("{}: {}", name, error.what());
  }
  const std::uint64_t size = storage_bytes(header.dtype, count);
  check(source.remaining() == size, "{}: {} array of shape {} needs {} bytes, has {}", name, to_string(header.dtype),
        to_string(header.shape), size, source.remaining());
  // Tensor has float16 as storage only; arithmetic is in float32.
  Tensor tensor = Tensor::uninitialized(header.dtype, header.shape);
  source.read({tensor.mutable_bytes(), tensor.size_bytes()});
  if (header.big_endian != (std::endian::native == std::endian::big)) reverse_elements(tensor);
  if (header.fortran_order && header.shape.size() > 1) tensor = to_c_order(tensor);
  if (header.dtype == DataType::boolean) {
    // Any byte but 0 is true in NumPy; in C++ only 1 is.
    std::byte* bytes = tensor.mutable_bytes();
    for (std::size_t i = 0; i < tensor.size_bytes(); ++i) bytes[i] = std::byte{bytes[i] != std::byte{0}};
  }
  if (header.dtype != DataType::float16) return tensor;
  Tensor wide(DataType::float32, header.shape);
  const auto out = wide.mutable_data<float>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, tensor.bytes() + 2 * i, 2);
    out[i] = half_to_float(half);
  }
  return wide;
}

bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

std::string_view type_code(DataType dtype, const std::string& path) {
  switch (dtype) {
    case DataType::float16:
      return "<f2";
    case DataType::float32:
      return "<f4";
    case DataType::float64:
      return "<f8";
    case DataType::int8:
      return "|i1";
    case DataType::int16:
      return "<i2";
    case DataType::int32:
      return "<i4";
    case DataType::int64:
      return "<i8";
    case DataType::uint8:
      return "|u1";
    case DataType::uint16:
      return "<u2";
    case DataType::uint32:
      return "<u4";
    case DataType::uint64:
      return "<u8";
    case DataType::boolean:
      return "|b1";
    default:
      fail("cannot write '{}': .npy has no element type {}", path, to_string(dtype));
  }
}

// Everything before the elements; padded so that they start at a multiple of 64 bytes, as NumPy does.
std::string make_header(const Tensor& tensor, const std::string& path) {
  std::string shape;
  for (std::int64_t dim : tensor.shape()) shape += fmt::format("{}, ", dim);
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  if (tensor.rank() == 1) shape.pop_back();
  std::string text =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", type_code(tensor.dtype(), path), shape);
  constexpr std::size_t kStart = 10;
  text.append((64 - (kStart + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  std::string header(kMagic);
  header += {'\1', '\0', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return header + text;
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  const Source source{[&](std::span<std::byte> out) {
                        std::copy_n(bytes.begin(), out.size(), out.begin());
                        bytes = bytes.subspan(out.size());
                      },
                      [&] { return std::uint64_t{bytes.size()}; }};
  return read_array(source, fmt::format("'{}'", name));
}

std::vector<NamedTensor> parse_npz(std::span<const std::byte> bytes, const std::string& name) {
  std::vector<NamedTensor> arrays;
  std::set<std::string> names;
  for (const ZipEntry& entry : read_zip_directory(bytes, name)) {
    constexpr std::string_view kEnding = ".npy";
    check(entry.name.ends_with(kEnding), "'{}': entry '{}' is no .npy array", name, entry.name);
    const std::string array = entry.name.substr(0, entry.name.size() - kEnding.size());
    check(names.insert(array).second, "'{}': array '{}' occurs twice", name, array);
    ZipEntryReader reader(entry, name);
    const Source source{[&](std::span<std::byte> out) { reader.read(out); }, [&] { return reader.remaining(); }};
    arrays.push_back({array, read_array(source, fmt::format("'{}': array '{}'", name, array))});
    reader.finish();
  }
  return arrays;
}

std::vector<NamedTensor> load_npy(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  check(!bytes.empty(), "'{}': the file is empty", path);
  std::vector<NamedTensor> arrays;
  if (starts_with(bytes, kMagic)) {
    arrays.push_back({"", parse_npy(bytes, path)});
    return arrays;
  }
  check(starts_with(bytes, "PK"), "'{}': neither an .npy array nor an .npz archive", path);
  return parse_npz(bytes, path);
}

void save_npy(const std::string& path, const std::vector<NamedTensor>& arrays) {
  if (path.ends_with(".npz")) {
    ZipWriter zip(path);
    std::set<std::string> names;
    for (const NamedTensor& array : arrays) {
      check(names.insert(array.name).second, "cannot write '{}': two arrays are named '{}'", path, array.name);
      const std::string header = make_header(array.tensor, path);
      const std::array<std::span<const std::byte>, 2> pieces{
          std::as_bytes(std::span(header)), std::span(array.tensor.bytes(), array.tensor.size_bytes())};
      zip.add(array.name + ".npy", pieces);
    }
    zip.commit();
    return;
  }
  check(path.ends_with(".npy"), "cannot write '{}': the name must end in .npy or .npz", path);
  check(arrays.size() == 1, "cannot write {} arrays to '{}': .npy holds one; use .npz", arrays.size(), path);
  FileWriter file(path);
  file.write(make_header(arrays[0].tensor, path));
  file.write({arrays[0].tensor.bytes(), arrays[0].tensor.size_bytes()});
  file.commit();
}

}  // namespace bitfold
