#include "data/npy_header.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <set>

#include "base/check.h"

namespace bitfold {
namespace {

// Parses the Python literal of a header and nothing else: a dictionary with exactly the three keys.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  ArrayLayout parse() {
    ArrayLayout header;
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
    if (seen.size() != 3) broken("the keys descr, fortran_order and shape are required");
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
    if (!accept(c)) broken(fmt::format("expected '{}' at column {}", c, at_));
  }
  std::string_view string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') broken(fmt::format("expected a string at column {}", at_));
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
    constexpr std::size_t kMaxDims = 64;  // the limit of NumPy itself
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t dim = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0) broken("a dimension is not an integer from 0 to 2^63 - 1");
      at_ = static_cast<std::size_t>(end - text_.data());
      accept('L');  // a long integer in Python 2
      dims.push_back(dim);
      if (dims.size() > kMaxDims) broken("more than 64 dimensions");
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return dims;
  }
  void element_type(ArrayLayout& header) {
    skip_space();
    check(at_ < text_.size() && text_[at_] != '[',
          "{}: contains records with named fields; only plain arrays are supported", name_);
    const std::string_view descr = string();
    // Extensions of NumPy store their types as V1 and V2 (8-bit reals also as f1): the bits of one element.
    constexpr std::array<std::pair<std::string_view, DataType>, 15> kTypes{{{"f1", DataType::uint8},
                                                                            {"V1", DataType::uint8},
                                                                            {"V2", DataType::uint16},
                                                                            {"f2", DataType::float16},
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
    if (code.size() > 1 && code[0] == 'U') return text_type(header, descr, code.substr(1));
    const auto* type = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& row) { return row.first == code; });
    check(type != kTypes.end(), "{}: has element type '{}'; supported are f2, f4, f8, i1 to i8, u1 to u8, b1 and U",
          name_, descr);
    header.dtype = type->second;
    header.big_endian = descr[0] == '>';
  }
  void text_type(ArrayLayout& header, std::string_view descr, std::string_view length) {
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), header.characters);
    const bool is_number = error == std::errc() && end == length.data() + length.size() && header.characters >= 0;
    check(is_number, "{}: has element type '{}', whose length is not a number", name_, descr);
    header.dtype = DataType::string;
    header.big_endian = descr[0] == '>';
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

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
    case DataType::bfloat16:
      return "<V2";
    case DataType::int4:
    case DataType::uint4:
    case DataType::int2:
    case DataType::uint2:
    case DataType::float8e4m3fn:
    case DataType::float8e4m3fnuz:
    case DataType::float8e5m2:
    case DataType::float8e5m2fnuz:
    case DataType::float8e8m0:
    case DataType::float4e2m1:
      return "|V1";
    default:
      fail("cannot write '{}': .npy has no element type {}", path, to_string(dtype));
  }
}

}  // namespace

ArrayLayout read_npy_header(const ByteStream& stream, const std::string& where) {
  std::array<std::byte, 8> start{};
  check(stream.remaining() >= start.size(), "{}: not an .npy array: {} bytes", where, stream.remaining());
  stream.read(start);
  check(std::memcmp(start.data(), kNpyMagic.data(), kNpyMagic.size()) == 0, "{}: not an .npy array", where);
  const int major = std::to_integer<int>(start[6]), minor = std::to_integer<int>(start[7]);
  check(major >= 1 && major <= 3 && minor == 0, "{}: .npy format {}.{} is unknown; supported are 1.0, 2.0 and 3.0",
        where, major, minor);
  std::array<std::byte, 4> length_bytes{};
  const std::size_t width = major == 1 ? 2 : 4;
  check(stream.remaining() >= width, "{}: truncated in its header", where);
  stream.read(std::span(length_bytes).first(width));
  std::size_t length = 0;
  for (std::size_t i = 0; i < width; ++i) length |= std::to_integer<std::size_t>(length_bytes[i]) << (8 * i);
  constexpr std::size_t kLongestHeader = 1 << 16;  // a shape with 64 dimensions takes some 1300 bytes
  check(length <= kLongestHeader, "{}: its header declares a length of {} bytes, which is too long", where, length);
  check(stream.remaining() >= length, "{}: truncated in its header", where);
  std::string text(length, '\0');
  stream.read(std::as_writable_bytes(std::span(text)));
  ArrayLayout layout = HeaderParser(text, where).parse();
  std::int64_t count = 0;
  try {
    count = element_count(layout.shape);
    if (layout.dtype == DataType::string) count = element_count({count, layout.characters});
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
  const bool is_text = layout.dtype == DataType::string;
  check(!is_text || !layout.fortran_order || layout.shape.size() < 2,
        "{}: its strings are in Fortran order, which is "
        "not supported",
        where);
  const std::uint64_t size = storage_bytes(is_text ? DataType::uint32 : layout.dtype, count),
                      remaining = stream.remaining();
  check(remaining == size || remaining == ByteStream::kUnknown,
        "{}: a {} array of shape {} needs {} bytes, but {} are left", where, to_string(layout.dtype),
        to_string(layout.shape), size, remaining);
  return layout;
}

std::string make_npy_header(const Tensor& tensor, const std::string& path, std::int64_t characters) {
  std::string shape;
  for (std::int64_t dim : tensor.shape()) shape += fmt::format("{}, ", dim);
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  if (tensor.rank() == 1) shape.pop_back();
  const std::string code = tensor.dtype() == DataType::string ? fmt::format("<U{}", characters)
                                                              : std::string(type_code(tensor.dtype(), path));
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", code, shape);
  constexpr std::size_t kStart = 10;
  text.append((64 - (kStart + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  std::string header(kNpyMagic);
  header += {'\1', '\0', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return header + text;
}

}  // namespace bitfold
