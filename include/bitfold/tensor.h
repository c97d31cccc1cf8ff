// Dense arrays: element types, shapes, and Tensor, a value whose copies share their memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bitfold {

/// Element types. int4, uint4, int2, uint2 and float4e2m1 are packed, lowest bits first (ONNX's order). The reals of 8
/// and 4 bits have the names of ONNX; numeric/small_reals.h describes them. The elements of the last four types are C++
/// objects: std::string, or the Tensors that a sequence or an optional holds.
enum class DataType {
  float32,
  float64,
  float16,
  bfloat16,
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64,
  boolean,
  int4,
  uint4,
  int2,
  uint2,
  float8e4m3fn,
  float8e4m3fnuz,
  float8e5m2,
  float8e5m2fnuz,
  float8e8m0,
  float4e2m1,
  string,
  sequence,           ///< A list of tensors, as a tensor of shape {length}.
  optional,           ///< No tensor or one, as a tensor of shape {0} or {1}.
  optional_sequence,  ///< The same, for a sequence.
  unknown,            ///< The type of outputs of operators that Bitfold does not implement. No tensor has this type.
};

std::string_view to_string(DataType dtype);

/// Whether elements are objects of C++, which must not be copied as bytes.
constexpr bool holds_objects(DataType dtype) { return dtype >= DataType::string && dtype < DataType::unknown; }
/// Whether it is a sequence or an optional.
constexpr bool is_container(DataType dtype) { return dtype >= DataType::sequence && dtype < DataType::unknown; }

/// Bits of one element: 32 for float32, 4 for int4. For objects, those of the object itself.
int bit_width(DataType dtype);

/// Bytes that `count` elements occupy; packed types round up to a whole byte.
std::size_t storage_bytes(DataType dtype, std::int64_t count);

/// Row-major dimensions, outermost first. kDynamic stands for a dimension known only at run time.
using Shape = std::vector<std::int64_t>;
inline constexpr std::int64_t kDynamic = -1;

/// Product of the dimensions (1 for a scalar). Throws Error if one is negative or the product exceeds int64.
std::int64_t element_count(const Shape& shape);
bool is_static(const Shape& shape);
/// "1x3x?x224"; "scalar" if empty.
std::string to_string(const Shape& shape);

/// The DataType that stores T: float32 for float, boolean for bool.
template <class T>
DataType data_type_of();

/// A dense row-major array. Copies share the same bytes; mutable_data() copies them first if they are shared, so a
/// Tensor behaves as a plain value. Memory that a Tensor allocates starts at a 64-byte boundary; borrowed memory is
/// aligned for its element type only. No byte beyond size_bytes() may be read.
class Tensor {
 public:
  /// An empty float32 tensor of shape {0}.
  Tensor();
  /// Zero-filled. Throws Error on a negative or overflowing shape.
  Tensor(DataType dtype, Shape shape);
  /// Uninitialized contents; the caller must write every element.
  static Tensor uninitialized(DataType dtype, Shape shape);

  /// Copies `values`; throws Error unless there are element_count(shape) of them.
  template <class T>
  static Tensor from(Shape shape, std::span<const T> values);
  template <class T>
  static Tensor from(Shape shape, const std::vector<T>& values) {
    return from<T>(std::move(shape), std::span<const T>(values));
  }
  /// A sequence or an optional that holds `items`. Throws Error if an optional would hold more than one, or if an
  /// element of a sequence is a sequence.
  static Tensor container(DataType dtype, std::vector<Tensor> items);
  /// Copies raw bytes in Tensor's own layout; throws Error unless the size fits exactly. Not for objects.
  static Tensor from_bytes(DataType dtype, Shape shape, std::span<const std::byte> bytes);
  /// A tensor over memory that it does not allocate, such as a caller's array or a mapped file; not for objects. `data`
  /// holds the elements in Tensor's own layout, and must not change while the tensor or a copy of it exists. The tensor
  /// and its copies keep `owner` alive; with a null owner the caller guarantees the lifetime. mutable_data() copies the
  /// elements into memory of its own. Throws Error when `data` is null or misaligned for the element type, or when a
  /// boolean is neither 0 nor 1.
  static Tensor borrow(const void* data, std::shared_ptr<const void> owner, DataType dtype, Shape shape);

  DataType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int axis) const { return shape_[static_cast<std::size_t>(axis)]; }
  int rank() const { return static_cast<int>(shape_.size()); }
  /// Number of elements, not bytes.
  std::int64_t size() const { return size_; }
  std::size_t size_bytes() const { return storage_bytes(dtype_, size_); }
  bool is_borrowed() const { return is_borrowed_; }

  /// Throws Error if T is not the element type.
  template <class T>
  std::span<const T> data() const;
  /// Copies the elements first if the memory is shared or borrowed. Throws Error if T is not the element type.
  template <class T>
  std::span<T> mutable_data();
  /// The tensors in a sequence or an optional. Throws Error for other types.
  std::span<const Tensor> items() const;
  const std::byte* bytes() const;
  std::byte* mutable_bytes();

  /// A tensor with the same bytes and another shape of equal size.
  Tensor reshaped(Shape shape) const;

  /// Equality of type, shape and bytes (or objects); NaN equals NaN, because storage is compared.
  bool operator==(const Tensor& other) const;

 private:
  Tensor(DataType dtype, Shape shape, bool is_cleared);

  DataType dtype_ = DataType::float32;
  Shape shape_;
  std::int64_t size_ = 0;
  bool is_borrowed_ = false;  // then bytes_ is never written
  std::shared_ptr<std::byte> bytes_;
};

/// A non-owning view of a tensor, for the functions that evaluate operators. `shape` must outlive the view.
struct TensorView {
  DataType dtype = DataType::float32;
  std::span<const std::int64_t> shape;
  std::byte* data = nullptr;  ///< Must not be written if the view is an operator's input.

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  std::int64_t size() const {
    std::int64_t n = 1;
    for (auto d : shape) n *= d;
    return n;
  }
};

}  // namespace bitfold
