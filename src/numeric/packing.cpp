// Codes of 2 and 4 bits, several to a byte, as stored in ONNX files; docs/internals/arithmetic.md (19).
//
//   4 bits   byte k = code[2k] | code[2k+1] << 4                          low nibble first
//   2 bits   byte k = code[4k] | code[4k+1] << 2 | ... | code[4k+3] << 6
//
// Signed codes keep the low bits of their two's complement; unused bits of the last byte are 0. (ONNX, onnx.proto,
// TensorProto.int32_data and the INT4 and INT2 types.)
#include <cstdint>

#include "base/check.h"
#include "bitfold/affine.h"

namespace bitfold {
namespace {

DataType packed_type(int bits, bool is_signed) {
  if (bits == 4) return is_signed ? DataType::int4 : DataType::uint4;
  return is_signed ? DataType::int2 : DataType::uint2;
}

template <class Code>
void pack_to(const Tensor& codes, int bits, Tensor& packed) {
  const bool is_signed = codes.dtype() == DataType::int8;
  const int low = is_signed ? -(1 << (bits - 1)) : 0;
  const int high = low + (1 << bits) - 1;
  const auto from = codes.data<Code>();
  auto* to = reinterpret_cast<std::uint8_t*>(packed.mutable_bytes());
  const auto per_byte = static_cast<std::size_t>(8 / bits);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto code = static_cast<int>(from[i]);
    check(code >= low && code <= high, "code {} (element {}) does not fit {} bits: expected [{}, {}]", code, i, bits,
          low, high);
    const auto field = static_cast<unsigned>(code) & ((1U << bits) - 1);
    to[i / per_byte] =
        static_cast<std::uint8_t>(to[i / per_byte] | field << (static_cast<unsigned>(bits) * (i % per_byte)));
  }
}

template <class Code>
void unpack_to(const Tensor& packed, int bits, Tensor& codes) {
  const int sign_bit = codes.dtype() == DataType::int8 ? 1 << (bits - 1) : 0;
  const auto* from = reinterpret_cast<const std::uint8_t*>(packed.bytes());
  const auto to = codes.mutable_data<Code>();
  const auto per_byte = static_cast<std::size_t>(8 / bits);
  for (std::size_t i = 0; i < to.size(); ++i) {
    const int field = (from[i / per_byte] >> (static_cast<unsigned>(bits) * (i % per_byte))) & ((1 << bits) - 1);
    to[i] = static_cast<Code>((field ^ sign_bit) - sign_bit);  // extends the sign
  }
}

}  // namespace

Tensor pack(const Tensor& codes, int bits) {
  check(bits == 2 || bits == 4, "codes are packed at 2 or 4 bits, not {}", bits);
  const bool is_signed = codes.dtype() == DataType::int8;
  check(is_signed || codes.dtype() == DataType::uint8, "codes to pack are int8 or uint8, not {}",
        to_string(codes.dtype()));
  Tensor packed(packed_type(bits, is_signed), codes.shape());
  if (is_signed)
    pack_to<std::int8_t>(codes, bits, packed);
  else
    pack_to<std::uint8_t>(codes, bits, packed);
  return packed;
}

Tensor unpack(const Tensor& packed) {
  const DataType type = packed.dtype();
  const bool is_signed = type == DataType::int4 || type == DataType::int2;
  check(is_signed || type == DataType::uint4 || type == DataType::uint2, "a {} tensor is not packed", to_string(type));
  Tensor codes(is_signed ? DataType::int8 : DataType::uint8, packed.shape());
  if (is_signed)
    unpack_to<std::int8_t>(packed, bit_width(type), codes);
  else
    unpack_to<std::uint8_t>(packed, bit_width(type), codes);
  return codes;
}

Tensor unpacked(const Tensor& codes) { return bit_width(codes.dtype()) < 8 ? unpack(codes) : codes; }

bool can_hold_codes(DataType dtype, const QuantParams& params) {
  if (dtype == params.storage()) return true;
  const bool is_signed = dtype == DataType::int4 || dtype == DataType::int2;
  const bool is_unsigned = dtype == DataType::uint4 || dtype == DataType::uint2;
  return (is_signed || is_unsigned) && is_signed == params.is_signed && bit_width(dtype) >= params.bits;
}

}  // namespace bitfold
