#include "graph/text_fields.h"

#include <charconv>
#include <cmath>

#include "base/check.h"

namespace bitfold::text {
namespace {

constexpr std::string_view kSeparators = " =[](){},";

template <class Numbers>
std::string print_list(const Numbers& numbers) {
  return fmt::format("[{}]", fmt::join(numbers, ","));
}

template <class T>
std::string elements(const Tensor& tensor) {
  const auto data = tensor.data<T>();
  std::string out;
  for (const T v : data) out += fmt::format("{}{}", out.empty() ? "" : " ", std::is_same_v<T, float> ? v : +v);
  return out;
}

std::string strings(const Tensor& tensor) {
  std::string out;
  for (const std::string& text : tensor.data<std::string>()) out += (out.empty() ? "" : " ") + quoted(text);
  return out;
}

/// The raw bytes, for types without a printed form.
std::string bytes(const Tensor& tensor) {
  std::string out;
  for (std::size_t i = 0; i < tensor.size_bytes(); ++i)
    out += fmt::format("{}{}", out.empty() ? "" : " ", std::to_integer<int>(tensor.bytes()[i]));
  return out;
}

template <class T>
void read_into(Cursor& line, Tensor& tensor) {
  for (T& v : tensor.mutable_data<T>())
    v = std::is_same_v<T, float> ? static_cast<T>(line.real()) : static_cast<T>(line.integer());
}

}  // namespace

void Cursor::skip_spaces() {
  while (!line_.empty() && line_.front() == ' ') line_.remove_prefix(1);
}

bool Cursor::at_end() {
  skip_spaces();
  return line_.empty();
}

bool Cursor::next_is(char c) {
  skip_spaces();
  return line_.starts_with(c);
}

bool Cursor::accept(std::string_view token) {
  skip_spaces();
  if (!line_.starts_with(token)) return false;
  line_.remove_prefix(token.size());
  return true;
}

void Cursor::expect(std::string_view token) { check(accept(token), "expected '{}' before '{}'", token, line_); }

std::string Cursor::word() {
  skip_spaces();
  const std::size_t end = std::min(line_.find_first_of(kSeparators), line_.size());
  check(end > 0, "expected a word before '{}'", line_);
  std::string out(line_.substr(0, end));
  line_.remove_prefix(end);
  return out;
}

std::string Cursor::quoted() {
  expect("\"");
  std::string out;
  while (!line_.empty() && line_.front() != '"') {
    if (line_.starts_with("\\x") && line_.size() >= 4) {
      int code = 0;
      const auto [end, error] = std::from_chars(line_.data() + 2, line_.data() + 4, code, 16);
      check(error == std::errc() && end == line_.data() + 4, "'{}' is not an escape sequence", line_.substr(0, 4));
      out += static_cast<char>(code);
      line_.remove_prefix(4);
      continue;
    }
    if (line_.front() == '\\' && line_.size() >= 2) line_.remove_prefix(1);
    out += line_.front();
    line_.remove_prefix(1);
  }
  expect("\"");
  return out;
}

std::int64_t Cursor::integer() {
  if (accept("?")) return kDynamic;
  const std::string text = word();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size(), "'{}' is not an integer", text);
  return value;
}

double Cursor::real() {
  const std::string text = word();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size(), "'{}' is not a number", text);
  return value;
}

std::vector<std::int64_t> Cursor::integers() {
  std::vector<std::int64_t> out;
  expect("[");
  while (!accept("]")) {
    if (!out.empty()) expect(",");
    out.push_back(integer());
  }
  return out;
}

std::vector<double> Cursor::reals() {
  std::vector<double> out;
  expect("[");
  while (!accept("]")) {
    if (!out.empty()) expect(",");
    out.push_back(real());
  }
  return out;
}

std::string quoted(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (code < 0x20 || code >= 0x7f) {
      out += fmt::format("\\x{:02x}", code);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string print(const Shape& dims) {
  std::string out = "[";
  for (std::int64_t dim : dims)
    out += fmt::format("{}{}", out.size() > 1 ? "," : "", dim == kDynamic ? "?" : fmt::format("{}", dim));
  return out + "]";
}
std::string print(const std::vector<float>& numbers) { return print_list(numbers); }
std::string print(const std::vector<std::int32_t>& numbers) { return print_list(numbers); }

std::string print_elements(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DataType::float32:
      return elements<float>(tensor);
    case DataType::int64:
      return elements<std::int64_t>(tensor);
    case DataType::int32:
      return elements<std::int32_t>(tensor);
    case DataType::int8:
      return elements<std::int8_t>(tensor);
    case DataType::uint8:
      return elements<std::uint8_t>(tensor);
    case DataType::string:
      return strings(tensor);
    default:
      return bytes(tensor);
  }
}

void read_elements(Cursor& line, Tensor& tensor) {
  switch (tensor.dtype()) {
    case DataType::float32:
      return read_into<float>(line, tensor);
    case DataType::int64:
      return read_into<std::int64_t>(line, tensor);
    case DataType::int32:
      return read_into<std::int32_t>(line, tensor);
    case DataType::int8:
      return read_into<std::int8_t>(line, tensor);
    case DataType::uint8:
      return read_into<std::uint8_t>(line, tensor);
    case DataType::string:
      for (std::string& text : tensor.mutable_data<std::string>()) text = line.quoted();
      return;
    default:
      for (std::size_t i = 0; i < tensor.size_bytes(); ++i)
        tensor.mutable_bytes()[i] = static_cast<std::byte>(line.integer());
  }
}

QuantParams read_grid(Cursor& line) {
  const auto field = [&](std::string_view name) { line.expect(name), line.expect("="); };
  QuantParams grid;
  field("bits");
  grid.bits = static_cast<int>(line.integer());
  field("signed");
  grid.is_signed = line.integer() != 0;
  field("narrow");
  grid.narrow = line.integer() != 0;
  field("axis");
  grid.axis = static_cast<int>(line.integer());
  if (line.accept("block_size")) {
    line.expect("=");
    grid.block_size = line.integer();
  }
  field("scale");
  for (double v : line.reals()) grid.scale.push_back(static_cast<float>(v));
  field("zero_point");
  for (std::int64_t v : line.integers()) grid.zero_point.push_back(static_cast<std::int32_t>(v));
  return grid;
}

DataType parse_dtype(std::string_view word) {
  for (int i = 0; i < static_cast<int>(DataType::unknown); ++i)
    if (to_string(static_cast<DataType>(i)) == word) return static_cast<DataType>(i);
  fail("'{}' is not an element type", word);
}

}  // namespace bitfold::text
