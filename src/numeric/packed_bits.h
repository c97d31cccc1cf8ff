// One element of a packed tensor, lowest bits first.
#pragma once

#include <cstdint>

namespace bitfold {

/// Element `i` of an array whose elements have 2 or 4 bits.
inline std::uint8_t packed_bits(const std::uint8_t* bytes, std::int64_t i, int bits) {
  const std::int64_t per_byte = 8 / bits;
  return static_cast<std::uint8_t>(bytes[i / per_byte] >> (bits * (i % per_byte)) & ((1 << bits) - 1));
}
/// Takes the low bits of `value`. The other elements of the byte stay.
inline void set_packed_bits(std::uint8_t* bytes, std::int64_t i, int bits, std::uint8_t value) {
  const std::int64_t per_byte = 8 / bits, shift = bits * (i % per_byte);
  const int mask = (1 << bits) - 1;
  std::uint8_t& byte = bytes[i / per_byte];
  byte = static_cast<std::uint8_t>((byte & ~(mask << shift)) | (value & mask) << shift);
}

}  // namespace bitfold
