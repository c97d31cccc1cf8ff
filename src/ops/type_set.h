// Sets of element types.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "bitfold/tensor.h"

namespace bitfold::ops {

class TypeSet {
 public:
  constexpr TypeSet() = default;
  constexpr TypeSet(std::initializer_list<DataType> types) {
    for (DataType t : types) bits_ |= bit(t);
  }
  constexpr bool contains(DataType type) const { return (bits_ & bit(type)) != 0; }
  constexpr bool is_empty() const { return bits_ == 0; }
  constexpr TypeSet operator|(TypeSet other) const {
    TypeSet both;
    both.bits_ = bits_ | other.bits_;
    return both;
  }
  constexpr bool operator==(const TypeSet&) const = default;

 private:
  static constexpr std::uint64_t bit(DataType type) { return std::uint64_t{1} << static_cast<unsigned>(type); }
  std::uint64_t bits_ = 0;
};

/// "float32, int32, int64"
using bitfold::to_string;
std::string to_string(TypeSet types);

inline constexpr TypeSet kReal{DataType::float32};
inline constexpr TypeSet kBoolean{DataType::boolean};
inline constexpr TypeSet kIndex{DataType::int32, DataType::int64};
inline constexpr TypeSet kInt64{DataType::int64};
inline constexpr TypeSet kSignedInteger{DataType::int8, DataType::int16, DataType::int32, DataType::int64};
inline constexpr TypeSet kUnsignedInteger{DataType::uint8, DataType::uint16, DataType::uint32, DataType::uint64};
inline constexpr TypeSet kInteger = kSignedInteger | kUnsignedInteger;
/// The integers that ONNX sums and averages: int32, int64 and their unsigned counterparts.
inline constexpr TypeSet kWideInteger = kIndex | TypeSet{DataType::uint32, DataType::uint64};
/// The types in which Bitfold does arithmetic.
inline constexpr TypeSet kNumber = kReal | kInteger;
/// The types of reals other than float32. They occur only at the interface of a network; see Cast.
inline constexpr TypeSet kOtherReal{DataType::float16, DataType::bfloat16, DataType::float64};
/// Reals of 8 bits, and the one of 4 bits: codes that some operators quantize to.
inline constexpr TypeSet kReal8{DataType::float8e4m3fn, DataType::float8e4m3fnuz, DataType::float8e5m2,
                                DataType::float8e5m2fnuz};
inline constexpr TypeSet kSmallReal = kReal8 | TypeSet{DataType::float8e8m0, DataType::float4e2m1};
/// Every type whose elements fill whole bytes, except reals of 8 bits, which few operators take.
inline constexpr TypeSet kWholeBytes = kReal | kOtherReal | kInteger | kBoolean;
inline constexpr TypeSet kPacked{DataType::int4, DataType::uint4, DataType::int2, DataType::uint2};
inline constexpr TypeSet kString{DataType::string};
inline constexpr TypeSet kSequence{DataType::sequence};
inline constexpr TypeSet kOptional{DataType::optional, DataType::optional_sequence};
/// The types that operators move without computing with them.
inline constexpr TypeSet kMoved = kWholeBytes | kString;
/// The types of tensors that a sequence or an optional can hold.
inline constexpr TypeSet kItem = kReal | kInteger | kBoolean | kString;
/// The types that Cast converts.
inline constexpr TypeSet kCastable = kWholeBytes | kPacked | kSmallReal;

}  // namespace bitfold::ops
