// Converts TensorProto to Tensor and back. Elements lie in raw_data (little-endian, Tensor's own layout), in a typed
// field, where narrow types take one int32 per element (packed types: per byte), or in an external file.
#include "onnx/wire.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <filesystem>

#include "base/check.h"
#include "base/mapped_file.h"

namespace bitfold {
namespace {

static_assert(std::endian::native == std::endian::little,
              "raw_data is little-endian, which this machine does not support");

struct TypeRow {
  DataType dtype;
  int number;
};
constexpr std::array<TypeRow, 24> kTypes{{{DataType::float32, onnx::TensorProto::FLOAT},
                                          {DataType::float64, onnx::TensorProto::DOUBLE},
                                          {DataType::float16, onnx::TensorProto::FLOAT16},
                                          {DataType::bfloat16, onnx::TensorProto::BFLOAT16},
                                          {DataType::int8, onnx::TensorProto::INT8},
                                          {DataType::uint8, onnx::TensorProto::UINT8},
                                          {DataType::int16, onnx::TensorProto::INT16},
                                          {DataType::uint16, onnx::TensorProto::UINT16},
                                          {DataType::int32, onnx::TensorProto::INT32},
                                          {DataType::uint32, onnx::TensorProto::UINT32},
                                          {DataType::int64, onnx::TensorProto::INT64},
                                          {DataType::uint64, onnx::TensorProto::UINT64},
                                          {DataType::boolean, onnx::TensorProto::BOOL},
                                          {DataType::int4, kOnnxInt4},
                                          {DataType::uint4, kOnnxUint4},
                                          {DataType::int2, kOnnxInt2},
                                          {DataType::uint2, kOnnxUint2},
                                          {DataType::float8e4m3fn, kOnnxFloat8E4M3Fn},
                                          {DataType::float8e4m3fnuz, kOnnxFloat8E4M3Fnuz},
                                          {DataType::float8e5m2, kOnnxFloat8E5M2},
                                          {DataType::float8e5m2fnuz, kOnnxFloat8E5M2Fnuz},
                                          {DataType::float8e8m0, kOnnxFloat8E8M0},
                                          {DataType::float4e2m1, kOnnxFloat4E2M1},
                                          {DataType::string, onnx::TensorProto::STRING}}};

// Copies a typed field element by element, narrowing to the tensor's own width.
template <class T, class Field>
void copy_field(const Field& field, Tensor& tensor) {
  auto* to = reinterpret_cast<T*>(tensor.mutable_bytes());
  for (const auto value : field) *to++ = static_cast<T>(value);
}

// How many entries of a typed field hold `count` elements: one each, or one per packed byte.
std::size_t field_entries(DataType dtype, std::int64_t count) {
  return bit_width(dtype) < 8 ? storage_bytes(dtype, count) : static_cast<std::size_t>(count);
}

std::size_t field_size(const onnx::TensorProto& proto, DataType dtype) {
  switch (dtype) {
    case DataType::float32:
      return static_cast<std::size_t>(proto.float_data_size());
    case DataType::float64:
      return static_cast<std::size_t>(proto.double_data_size());
    case DataType::int64:
      return static_cast<std::size_t>(proto.int64_data_size());
    case DataType::uint32:
    case DataType::uint64:
      return static_cast<std::size_t>(proto.uint64_data_size());
    case DataType::string:
      return static_cast<std::size_t>(proto.string_data_size());
    default:
      return static_cast<std::size_t>(proto.int32_data_size());
  }
}

void copy_typed(const onnx::TensorProto& proto, Tensor& tensor) {
  switch (tensor.dtype()) {
    case DataType::float32:
      return copy_field<float>(proto.float_data(), tensor);
    case DataType::float64:
      return copy_field<double>(proto.double_data(), tensor);
    case DataType::int64:
      return copy_field<std::int64_t>(proto.int64_data(), tensor);
    case DataType::uint64:
      return copy_field<std::uint64_t>(proto.uint64_data(), tensor);
    case DataType::uint32:
      return copy_field<std::uint32_t>(proto.uint64_data(), tensor);
    case DataType::int32:
      return copy_field<std::int32_t>(proto.int32_data(), tensor);
    case DataType::int16:
    case DataType::uint16:
    case DataType::float16:
    case DataType::bfloat16:
      return copy_field<std::uint16_t>(proto.int32_data(), tensor);
    case DataType::boolean: {
      bool* to = tensor.mutable_data<bool>().data();
      for (const std::int32_t value : proto.int32_data()) *to++ = value != 0;
      return;
    }
    case DataType::string:
      std::ranges::copy(proto.string_data(), tensor.mutable_data<std::string>().begin());
      return;
    default:
      return copy_field<std::uint8_t>(proto.int32_data(), tensor);
  }
}

std::uint64_t parse_count(const std::string& text, const std::string& key) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc{} && end == text.data() + text.size(), "external data has {} '{}', which is not a number",
        key, text);
  return value;
}

// The file that a tensor's location names, after every link is followed. A model must not read outside its own folder.
std::filesystem::path resolve_inside(const std::string& folder, const std::string& location) {
  namespace fs = std::filesystem;
  const fs::path relative(location);
  check(!location.empty() && location.find('\0') == std::string::npos, "external data names no file");
  check(relative.is_relative(), "external data '{}' is an absolute path; only files in the model's folder are read",
        location);
  std::error_code error;
  const fs::path root = fs::weakly_canonical(folder.empty() ? "." : folder, error);
  check(!error, "cannot read folder '{}': {}", folder, error.message());
  const fs::path path = fs::weakly_canonical(root / relative, error);
  check(!error, "external data '{}': {}", location, error.message());
  const fs::path inside = path.lexically_relative(root);
  check(!inside.empty() && *inside.begin() != "..", "external data '{}' lies outside the model's folder", location);
  check(fs::is_regular_file(path, error), "external data '{}' is not a file in '{}'", location, root.string());
  return path;
}

// Borrows `bytes` if possible; otherwise copies them and releases their pages.
Tensor make_tensor(DataType dtype, const Shape& shape, const DetachedData& data) {
  constexpr std::size_t kMinBorrowed = 1024;  // a small tensor would keep a whole page
  const std::size_t alignment = static_cast<std::size_t>(std::max(bit_width(dtype) / 8, 1));
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(data.bytes.data()) % alignment == 0;
  // A byte of the file may have any value, but a bool of C++ is 0 or 1, so booleans are copied.
  if (data.owner != nullptr && is_aligned && dtype != DataType::boolean && data.bytes.size() >= kMinBorrowed)
    return Tensor::borrow(data.bytes.data(), data.owner, dtype, shape);
  Tensor copy = Tensor::from_bytes(dtype, shape, data.bytes);
  release_mapped_pages(data.bytes);
  return copy;
}

DetachedData map_external(const onnx::TensorProto& proto, const std::string& folder, std::size_t expected_bytes) {
  std::string location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = parse_count(entry.value(), "offset");
    if (entry.key() == "length") length = parse_count(entry.value(), "length");
  }
  const std::filesystem::path path = resolve_inside(folder, location);
  const auto file = MappedFile::open(path.string());
  const std::uint64_t file_bytes = file->bytes().size();
  check(!length || *length == expected_bytes, "external data '{}' has length {}, but its shape needs {} bytes",
        location, length.value_or(0), expected_bytes);
  check(offset <= file_bytes && expected_bytes <= file_bytes - offset,
        "external data '{}' has {} bytes, but {} from offset {} are needed", location, file_bytes, expected_bytes,
        offset);
  return {file->bytes().subspan(offset, expected_bytes), file};
}

}  // namespace

std::optional<DataType> data_type_of_onnx(int number) {
  for (const TypeRow& row : kTypes)
    if (row.number == number) return row.dtype;
  return std::nullopt;
}

DataType checked_data_type(int number) {
  const std::optional<DataType> dtype = data_type_of_onnx(number);
  if (dtype) return *dtype;
  fail("element type number {} is not supported", number);
}

int onnx_number(DataType dtype) {
  for (const TypeRow& row : kTypes)
    if (row.dtype == dtype) return row.number;
  fail("type {} has no ONNX number", to_string(dtype));
}

Tensor read_tensor(const onnx::TensorProto& proto, const std::string& folder, const DetachedData& detached) {
  try {
    const DataType dtype = checked_data_type(proto.data_type());
    check(!proto.has_segment(), "its elements are split into segments, which is not supported");
    const Shape shape(proto.dims().begin(), proto.dims().end());
    const std::int64_t count = element_count(shape);
    const std::size_t bytes = storage_bytes(dtype, count);
    const bool has_bytes = proto.data_location() == onnx::TensorProto::EXTERNAL || detached.bytes.data() != nullptr ||
                           proto.has_raw_data();
    check(!has_bytes || dtype != DataType::string, "strings must be in the field string_data");
    if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
      return make_tensor(dtype, shape, map_external(proto, folder, bytes));
    }
    if (detached.bytes.data() != nullptr || proto.has_raw_data()) {
      const DetachedData own{std::as_bytes(std::span(proto.raw_data())), nullptr};
      const DetachedData& raw = detached.bytes.data() != nullptr ? detached : own;
      check(raw.bytes.size() == bytes, "shape {} of {} needs {} bytes, but there are {}", to_string(shape),
            to_string(dtype), bytes, raw.bytes.size());
      return make_tensor(dtype, shape, raw);
    }
    const std::size_t entries = field_size(proto, dtype);
    check(entries == field_entries(dtype, count), "shape {} of {} needs {} elements, but there are {}",
          to_string(shape), to_string(dtype), field_entries(dtype, count), entries);
    Tensor tensor(dtype, shape);
    copy_typed(proto, tensor);
    return tensor;
  } catch (const Error& error) {
    fail("tensor '{}': {}", proto.name(), error.what());
  }
}

Tensor take_tensor(onnx::TensorProto& proto, const std::string& folder) {
  if (!proto.has_raw_data()) return read_tensor(proto, folder);
  const auto raw = std::make_shared<const std::string>(std::move(*proto.mutable_raw_data()));
  return read_tensor(proto, folder, {std::as_bytes(std::span(*raw)), raw});
}

std::int64_t external_file_bytes(const std::string& location, const std::string& folder) {
  return static_cast<std::int64_t>(std::filesystem::file_size(resolve_inside(folder, location)));
}

onnx::TensorProto write_tensor(const std::string& name, const Tensor& tensor) {
  onnx::TensorProto proto = write_tensor_header(name, tensor);
  if (tensor.dtype() != DataType::string)
    proto.set_raw_data(tensor.bytes(), tensor.size_bytes());
  else
    for (const std::string& text : tensor.data<std::string>()) proto.add_string_data(text);
  return proto;
}

onnx::TensorProto write_tensor_header(const std::string& name, const Tensor& tensor) {
  onnx::TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(onnx_number(tensor.dtype()));
  for (std::int64_t dim : tensor.shape()) proto.add_dims(dim);
  return proto;
}

}  // namespace bitfold
