#include "arrays.h"

#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "bitfold/error.h"
#include "bitfold/reals.h"

namespace bitfold::python {
namespace {

using nb::dlpack::dtype_code;

struct Type {
  DataType dtype;
  dtype_code code;
  std::uint8_t bits;
};

/// The element types of NumPy.
constexpr std::array kTypes{
    Type{DataType::float32, dtype_code::Float, 32}, Type{DataType::float64, dtype_code::Float, 64},
    Type{DataType::float16, dtype_code::Float, 16}, Type{DataType::int8, dtype_code::Int, 8},
    Type{DataType::uint8, dtype_code::UInt, 8},     Type{DataType::int16, dtype_code::Int, 16},
    Type{DataType::uint16, dtype_code::UInt, 16},   Type{DataType::int32, dtype_code::Int, 32},
    Type{DataType::uint32, dtype_code::UInt, 32},   Type{DataType::int64, dtype_code::Int, 64},
    Type{DataType::uint64, dtype_code::UInt, 64},   Type{DataType::boolean, dtype_code::Bool, 8},
};

std::optional<DataType> type_of(nb::dlpack::dtype dtype) {
  const auto found = std::ranges::find_if(
      kTypes, [&](const Type& t) { return static_cast<std::uint8_t>(t.code) == dtype.code && t.bits == dtype.bits; });
  return found == kTypes.end() || dtype.lanes != 1 ? std::nullopt : std::optional(found->dtype);
}

nb::module_ numpy() { return nb::module_::import_("numpy"); }

[[noreturn]] void fail_input(const InputSpec& input, const std::string& what) {
  throw Error(fmt::format("input '{}' {}", input.name, what));
}

Tensor strings(nb::handle value, const InputSpec& input) {
  const nb::object array = numpy().attr("asarray")(value, nb::arg("dtype") = "object");
  Shape shape;
  for (nb::handle size : array.attr("shape")) shape.push_back(nb::cast<std::int64_t>(size));
  Tensor tensor(DataType::string, shape);
  auto texts = tensor.mutable_data<std::string>();
  std::size_t i = 0;
  for (nb::handle item : array.attr("flat")) {
    if (nb::isinstance<nb::bytes>(item)) {
      const auto bytes = nb::borrow<nb::bytes>(item);
      texts[i++] = std::string(static_cast<const char*>(bytes.data()), bytes.size());
    } else if (!nb::isinstance<nb::str>(item) || !nb::try_cast(item, texts[i++], false)) {
      fail_input(input, "has an element that is neither text in Unicode nor bytes");
    }
  }
  return tensor;
}

Tensor container(nb::handle value, const InputSpec& input, std::vector<Array>& alive) {
  InputSpec item{.name = input.name, .dtype = input.item, .shape = {}, .has_shape = false};
  std::vector<Tensor> items;
  if (!value.is_none() && input.dtype == DataType::sequence)
    for (nb::handle element : value) items.push_back(to_tensor(element, item, alive));
  else if (!value.is_none())
    items.push_back(to_tensor(value, item, alive));
  return Tensor::container(input.dtype, std::move(items));
}

/// The array as it is, if it can be read without a copy.
std::optional<Array> as_it_is(nb::handle value) {
  Array array;
  if (!nb::try_cast(value, array, false)) return std::nullopt;
  return array;
}

struct SmallType {
  DataType dtype;
  const char* name;
};

/// The types of ml_dtypes whose elements have 8 or 16 bits.
constexpr std::array kSmallTypes{SmallType{DataType::bfloat16, "bfloat16"},
                                 SmallType{DataType::float8e4m3fn, "float8_e4m3fn"},
                                 SmallType{DataType::float8e4m3fnuz, "float8_e4m3fnuz"},
                                 SmallType{DataType::float8e5m2, "float8_e5m2"},
                                 SmallType{DataType::float8e5m2fnuz, "float8_e5m2fnuz"},
                                 SmallType{DataType::float8e8m0, "float8_e8m0fnu"}};

/// Lists, numbers, and arrays with strides, another byte order, or a type of ml_dtypes.
Array any_array(nb::handle value, const InputSpec& input) {
  if (auto array = as_it_is(value)) return *std::move(array);
  const auto* plain = std::ranges::find(kTypes, input.dtype, &Type::dtype);
  const bool is_list = nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value) ||
                       nb::isinstance<nb::float_>(value) || nb::isinstance<nb::int_>(value);
  const nb::object object = is_list && plain != kTypes.end() ? numpy().attr("asarray")(value, numpy_name(input.dtype))
                                                             : nb::object(numpy().attr("asarray")(value));
  const nb::object type = object.attr("dtype");
  const auto name = nb::cast<std::string>(nb::str(type));
  nb::object readable = numpy().attr("ascontiguousarray")(object);
  if (const auto* small = std::ranges::find(kSmallTypes, name, &SmallType::name); small == kSmallTypes.end())
    readable = readable.attr("astype")(type.attr("newbyteorder")("="), nb::arg("copy") = false);
  else if (small->dtype == input.dtype)
    readable = readable.attr("view")(nb::cast<int>(type.attr("itemsize")) == 1 ? "uint8" : "uint16");
  else if (small->dtype == DataType::bfloat16)
    readable = readable.attr("astype")("float32");
  if (auto array = as_it_is(readable.attr("reshape")(object.attr("shape")))) return *std::move(array);
  fail_input(input, fmt::format("has type {}; expected {}", name, numpy_name(input.dtype)));
}

nb::object plain_array(Tensor tensor, const Type& type) {
  // An output that is an input unchanged would outlive the caller's array.
  if (tensor.is_borrowed())
    tensor = Tensor::from_bytes(tensor.dtype(), tensor.shape(), {tensor.bytes(), tensor.size_bytes()});
  auto* owned = new Tensor(std::move(tensor));
  const nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  void* const data = owned->mutable_bytes();
  std::array<std::size_t, 64> shape{};
  std::ranges::copy(owned->shape(), shape.begin());
  const nb::dlpack::dtype dtype{static_cast<std::uint8_t>(type.code), type.bits, 1};
  return nb::cast(
      nb::ndarray<nb::numpy>(data, static_cast<std::size_t>(owned->rank()), shape.data(), owner, nullptr, dtype));
}

nb::object string_array(const Tensor& tensor) {
  nb::list texts;
  for (const std::string& text : tensor.data<std::string>()) texts.append(nb::str(text.data(), text.size()));
  nb::list shape;
  for (std::int64_t size : tensor.shape()) shape.append(size);
  const nb::object array = numpy().attr("empty")(nb::len(texts), nb::arg("dtype") = "object");
  array[nb::slice(nb::none(), nb::none(), nb::none())] = texts;
  return array.attr("reshape")(nb::tuple(shape));
}

/// The dtype of ml_dtypes, or None.
nb::object small_type(DataType dtype) {
  const auto* found = std::ranges::find(kSmallTypes, dtype, &SmallType::dtype);
  if (found == kSmallTypes.end()) return nb::none();
  try {
    return nb::module_::import_("ml_dtypes").attr(found->name);
  } catch (const nb::python_error&) {
    return nb::none();
  }
}

}  // namespace

Tensor to_tensor(nb::handle value, const InputSpec& input, std::vector<Array>& alive) {
  if (input.dtype == DataType::string) return strings(value, input);
  if (is_container(input.dtype)) return container(value, input, alive);
  Array array = any_array(value, input);
  const auto dtype = type_of(array.dtype());
  if (!dtype) fail_input(input, "has an element type that NumPy lacks; pass the integers that hold its bits");
  Shape shape;
  for (std::size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<std::int64_t>(array.shape(i)));
  // An empty array may have no memory.
  if (array.size() == 0) return Tensor(needs_conversion(*dtype, input.dtype) ? input.dtype : *dtype, shape);
  Tensor tensor = Tensor::borrow(array.data(), nullptr, *dtype, std::move(shape));
  alive.push_back(std::move(array));
  if (*dtype == input.dtype) return tensor;
  if (needs_conversion(*dtype, input.dtype)) return convert_reals(tensor, input.dtype);
  if (is_stored_as(*dtype, input.dtype)) return from_stored(tensor, input.dtype);
  fail_input(input, fmt::format("has type {}; expected {}", numpy_name(*dtype), numpy_name(input.dtype)));
}

nb::object to_python(Tensor tensor) {
  const DataType dtype = tensor.dtype();
  if (dtype == DataType::string) return string_array(tensor);
  if (is_container(dtype)) {
    nb::list items;
    for (const Tensor& item : tensor.items()) items.append(to_python(item));
    if (dtype == DataType::sequence) return items;
    return tensor.items().empty() ? nb::none() : nb::object(items[0]);
  }
  const auto find = [](DataType wanted) { return std::ranges::find(kTypes, wanted, &Type::dtype); };
  if (const auto* type = find(dtype); type != kTypes.end()) return plain_array(std::move(tensor), *type);
  Tensor stored = to_stored(tensor);
  const auto* type = find(stored.dtype());
  const nb::object array = plain_array(std::move(stored), *type);
  const nb::object small = small_type(dtype);
  return small.is_none() ? array : nb::object(array.attr("view")(small));
}

std::string numpy_name(DataType dtype) { return dtype == DataType::boolean ? "bool" : std::string(to_string(dtype)); }

}  // namespace bitfold::python
