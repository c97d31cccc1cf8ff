#include "bitfold/tensor.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "numeric/block_pool.h"

namespace bitfold {
namespace {

struct TypeInfo {
  std::string_view name;
  int bits;
};
constexpr int kTensorBits = 8 * sizeof(Tensor);
// In the order of DataType.
constexpr std::array<TypeInfo, 28> kTypes{{{"float32", 32},
                                           {"float64", 64},
                                           {"float16", 16},
                                           {"bfloat16", 16},
                                           {"int8", 8},
                                           {"uint8", 8},
                                           {"int16", 16},
                                           {"uint16", 16},
                                           {"int32", 32},
                                           {"uint32", 32},
                                           {"int64", 64},
                                           {"uint64", 64},
                                           {"boolean", 8},
                                           {"int4", 4},
                                           {"uint4", 4},
                                           {"int2", 2},
                                           {"uint2", 2},
                                           {"float8e4m3fn", 8},
                                           {"float8e4m3fnuz", 8},
                                           {"float8e5m2", 8},
                                           {"float8e5m2fnuz", 8},
                                           {"float8e8m0", 8},
                                           {"float4e2m1", 4},
                                           {"string", 8 * sizeof(std::string)},
                                           {"sequence", kTensorBits},
                                           {"optional", kTensorBits},
                                           {"optional_sequence", kTensorBits},
                                           {"unknown", 0}}};

const TypeInfo& info(DataType dtype) { return kTypes[static_cast<std::size_t>(dtype)]; }

/// At least one object, so that the address is not null.
template <class Object>
std::shared_ptr<std::byte> allocate_objects(std::int64_t count, const std::byte* copied) {
  const auto objects =
      std::make_shared<std::vector<Object>>(static_cast<std::size_t>(std::max<std::int64_t>(count, 1)));
  if (copied != nullptr) std::copy_n(reinterpret_cast<const Object*>(copied), count, objects->data());
  return {objects, reinterpret_cast<std::byte*>(objects->data())};
}

std::shared_ptr<std::byte> allocate_objects(DataType dtype, std::int64_t count, const std::byte* copied = nullptr) {
  return dtype == DataType::string ? allocate_objects<std::string>(count, copied)
                                   : allocate_objects<Tensor>(count, copied);
}

std::shared_ptr<std::byte> allocate(std::size_t bytes, bool is_cleared) {
  const BlockPool::Block block = BlockPool::take(std::max<std::size_t>(bytes, 1));
  if (is_cleared) std::memset(block.data, 0, bytes);
  return {block.data, [block](std::byte*) { BlockPool::give_back(block); }};
}

}  // namespace

std::string_view to_string(DataType dtype) { return info(dtype).name; }
int bit_width(DataType dtype) {
  check(dtype != DataType::unknown, "the element type is unknown");
  return info(dtype).bits;
}

std::size_t storage_bytes(DataType dtype, std::int64_t count) {
  const auto bits = static_cast<std::size_t>(bit_width(dtype));
  const auto n = static_cast<std::size_t>(count);
  return bits >= 8 ? n * (bits / 8) : (n * bits + 7) / 8;
}

std::int64_t element_count(const Shape& shape) {
  // 2^56 elements: more than any machine can hold, and no overflow when multiplied by an element's size.
  constexpr std::int64_t kMaxElements = std::int64_t{1} << 56;
  std::int64_t count = 1;
  for (std::int64_t dim : shape) {
    if (dim < 0) fail("shape {}: a dimension is {}; it must not be negative", to_string(shape), dim);
    if (dim != 0 && count > kMaxElements / dim) fail("shape {}: too many elements", to_string(shape));
    count *= dim;
  }
  return count;
}

bool is_static(const Shape& shape) {
  for (std::int64_t dim : shape)
    if (dim < 0) return false;
  return true;
}

std::string to_string(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (std::int64_t dim : shape) {
    if (!text.empty()) text += 'x';
    text += dim == kDynamic ? "?" : std::to_string(dim);
  }
  return text;
}

template <>
DataType data_type_of<float>() {
  return DataType::float32;
}
template <>
DataType data_type_of<double>() {
  return DataType::float64;
}
template <>
DataType data_type_of<std::int8_t>() {
  return DataType::int8;
}
template <>
DataType data_type_of<std::uint8_t>() {
  return DataType::uint8;
}
template <>
DataType data_type_of<std::int16_t>() {
  return DataType::int16;
}
template <>
DataType data_type_of<std::uint16_t>() {
  return DataType::uint16;
}
template <>
DataType data_type_of<std::int32_t>() {
  return DataType::int32;
}
template <>
DataType data_type_of<std::uint32_t>() {
  return DataType::uint32;
}
template <>
DataType data_type_of<std::int64_t>() {
  return DataType::int64;
}
template <>
DataType data_type_of<std::uint64_t>() {
  return DataType::uint64;
}
template <>
DataType data_type_of<bool>() {
  return DataType::boolean;
}
template <>
DataType data_type_of<std::string>() {
  return DataType::string;
}

Tensor::Tensor() : Tensor(DataType::float32, {0}) {}

Tensor::Tensor(DataType dtype, Shape shape) : Tensor(dtype, std::move(shape), true) {}

Tensor::Tensor(DataType dtype, Shape shape, bool is_cleared)
    : dtype_(dtype),
      shape_(std::move(shape)),
      size_(element_count(shape_)),
      bytes_(holds_objects(dtype) ? allocate_objects(dtype, size_)
                                  : allocate(storage_bytes(dtype, size_), is_cleared)) {}

Tensor Tensor::uninitialized(DataType dtype, Shape shape) { return {dtype, std::move(shape), false}; }

Tensor Tensor::borrow(const void* data, std::shared_ptr<const void> owner, DataType dtype, Shape shape) {
  check(!holds_objects(dtype), "memory with elements of type {} cannot be borrowed", to_string(dtype));
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.size_ = element_count(t.shape_);
  t.is_borrowed_ = true;
  const auto* bytes = static_cast<const std::byte*>(data);
  check(bytes != nullptr || t.size_ == 0, "a borrowed tensor of shape {} has no memory", to_string(t.shape_));
  const auto alignment = static_cast<std::uintptr_t>(std::max(bit_width(dtype) / 8, 1));
  check(reinterpret_cast<std::uintptr_t>(bytes) % alignment == 0,
        "borrowed memory is not aligned to {} bytes, as elements of {} need", alignment, to_string(dtype));
  if (dtype == DataType::boolean)
    for (std::int64_t i = 0; i < t.size_; ++i)
      check(bytes[i] <= std::byte{1}, "borrowed boolean {} is {}; it must be 0 or 1", i,
            std::to_integer<int>(bytes[i]));
  t.bytes_ = {std::const_pointer_cast<void>(std::move(owner)), const_cast<std::byte*>(bytes)};
  return t;
}

Tensor Tensor::container(DataType dtype, std::vector<Tensor> items) {
  check(is_container(dtype), "type {} holds no tensors", to_string(dtype));
  check(dtype == DataType::sequence || items.size() <= 1, "an optional cannot hold {} values", items.size());
  const bool holds_sequence = dtype == DataType::optional_sequence;
  for (const Tensor& item : items)
    check(holds_sequence ? item.dtype() == DataType::sequence : !is_container(item.dtype()),
          "a value of type {} cannot hold one of type {}", to_string(dtype), to_string(item.dtype()));
  Tensor t(dtype, {static_cast<std::int64_t>(items.size())});
  std::ranges::move(items, reinterpret_cast<Tensor*>(t.bytes_.get()));
  return t;
}

Tensor Tensor::from_bytes(DataType dtype, Shape shape, std::span<const std::byte> bytes) {
  check(!holds_objects(dtype), "elements of type {} cannot be made from bytes", to_string(dtype));
  Tensor t = uninitialized(dtype, std::move(shape));
  check(bytes.size() == t.size_bytes(), "a {} tensor of shape {} needs {} bytes, got {}", to_string(dtype),
        to_string(t.shape_), t.size_bytes(), bytes.size());
  if (!bytes.empty()) std::memcpy(t.bytes_.get(), bytes.data(), bytes.size());
  // A file may contain any byte; a C++ bool is 0 or 1.
  if (dtype == DataType::boolean)
    for (std::int64_t i = 0; i < t.size_; ++i)
      if (t.bytes_.get()[i] != std::byte{0}) t.bytes_.get()[i] = std::byte{1};
  return t;
}

template <class T>
Tensor Tensor::from(Shape shape, std::span<const T> values) {
  if constexpr (std::is_same_v<T, std::string>) {
    Tensor t(DataType::string, std::move(shape));
    check(std::ssize(values) == t.size_, "a tensor of shape {} needs {} strings, got {}", to_string(t.shape_), t.size_,
          values.size());
    std::ranges::copy(values, reinterpret_cast<std::string*>(t.bytes_.get()));
    return t;
  } else {
    return from_bytes(data_type_of<T>(), std::move(shape), std::as_bytes(values));
  }
}

template <class T>
std::span<const T> Tensor::data() const {
  check(dtype_ == data_type_of<T>(), "tensor has element type {}, but {} was requested", to_string(dtype_),
        to_string(data_type_of<T>()));
  return {reinterpret_cast<const T*>(bytes_.get()), static_cast<std::size_t>(size_)};
}

template <class T>
std::span<T> Tensor::mutable_data() {
  check(dtype_ == data_type_of<T>(), "tensor has element type {}, but {} was requested", to_string(dtype_),
        to_string(data_type_of<T>()));
  return {reinterpret_cast<T*>(mutable_bytes()), static_cast<std::size_t>(size_)};
}

std::span<const Tensor> Tensor::items() const {
  check(is_container(dtype_), "a value of type {} holds no tensors", to_string(dtype_));
  return {reinterpret_cast<const Tensor*>(bytes_.get()), static_cast<std::size_t>(size_)};
}

const std::byte* Tensor::bytes() const { return bytes_.get(); }

std::byte* Tensor::mutable_bytes() {
  if (is_borrowed_ || bytes_.use_count() > 1) {
    const bool is_plain = !holds_objects(dtype_);
    auto own = is_plain ? allocate(size_bytes(), false) : allocate_objects(dtype_, size_, bytes_.get());
    if (is_plain && size_bytes() > 0) std::memcpy(own.get(), bytes_.get(), size_bytes());
    bytes_ = std::move(own);
    is_borrowed_ = false;
  } else {
    // The last other copy may have been destroyed in another thread. The fence orders that thread's reads before these
    // writes.
    std::atomic_thread_fence(std::memory_order_acquire);
  }
  return bytes_.get();
}

Tensor Tensor::reshaped(Shape shape) const {
  check(element_count(shape) == size_, "cannot reshape {} to {}", to_string(shape_), to_string(shape));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

bool Tensor::operator==(const Tensor& other) const {
  if (dtype_ != other.dtype_ || shape_ != other.shape_) return false;
  if (dtype_ == DataType::string) return std::ranges::equal(data<std::string>(), other.data<std::string>());
  if (is_container(dtype_)) return std::ranges::equal(items(), other.items());
  return (bytes_ == other.bytes_ || size_bytes() == 0 ||
          std::memcmp(bytes_.get(), other.bytes_.get(), size_bytes()) == 0);
}

// The element types for which data() and mutable_data() exist.
#define BITFOLD_INSTANTIATE(T)                                \
  template Tensor Tensor::from<T>(Shape, std::span<const T>); \
  template std::span<const T> Tensor::data<T>() const;        \
  template std::span<T> Tensor::mutable_data<T>();
BITFOLD_INSTANTIATE(float)
BITFOLD_INSTANTIATE(double)
BITFOLD_INSTANTIATE(std::int8_t)
BITFOLD_INSTANTIATE(std::uint8_t)
BITFOLD_INSTANTIATE(std::int16_t)
BITFOLD_INSTANTIATE(std::uint16_t)
BITFOLD_INSTANTIATE(std::int32_t)
BITFOLD_INSTANTIATE(std::uint32_t)
BITFOLD_INSTANTIATE(std::int64_t)
BITFOLD_INSTANTIATE(std::uint64_t)
BITFOLD_INSTANTIATE(bool)
BITFOLD_INSTANTIATE(std::string)
#undef BITFOLD_INSTANTIATE

}  // namespace bitfold
