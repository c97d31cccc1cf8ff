// The conversions with Google Highway, compiled once per instruction set, and the selection among them.
//
// Each loop handles one vector or four at a time. The rest is handled by one more vector that ends at the last element
// and overlaps the one before; conversions are pure, so converting an element twice changes nothing. If there is not
// even one vector, elements are converted one by one in plain C++.
//
// There is no SSE version: a CPU without AVX2 runs the portable kernels, which replace Highway's scalar target.
#ifdef BITFOLD_PORTABLE
#define HWY_COMPILE_ONLY_SCALAR
#else
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert/simd.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/convert/portable.h"
#include "kernels/select_kernels.h"
#include "numeric/reals.h"

HWY_BEFORE_NAMESPACE();
namespace bitfold {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

const ConvertKernels* convert_of_target() { return &kPortableConvertKernels; }

#else

// The parts of this file, each building on those before it.
// clang-format off
#include "kernels/convert/runs-inl.h"
#include "kernels/convert/grids-inl.h"
#include "kernels/convert/channels-inl.h"
#include "kernels/convert/layouts-inl.h"
// clang-format on

const hn::ScalableTag<std::uint16_t> kPairs;  // two codes each, the first in the low byte
const hn::Rebind<std::uint8_t, decltype(kPairs)> kPairBytes;

struct Packing {  // a unit is a packed byte
  using Out = std::uint8_t;
  static constexpr std::int64_t kBytesRead = 2, kVectorsPerBlock = 2;
  const std::uint8_t* from;
  std::uint8_t* to;

  static HWY_INLINE std::int64_t vector_size() { return static_cast<std::int64_t>(hn::Lanes(kPairs)); }
  HWY_INLINE hn::Vec<decltype(kPairBytes)> some(std::int64_t i) const {
    const auto pair = hn::BitCast(kPairs, hn::LoadU(kBytes, from + 2 * i));
    const auto low = hn::And(pair, hn::Set(kPairs, 0x0F));
    const auto high = hn::And(hn::ShiftRight<4>(pair), hn::Set(kPairs, 0xF0));
    return hn::DemoteTo(kPairBytes, hn::BitCast(hn::RebindToSigned<decltype(kPairs)>(), hn::Or(low, high)));
  }
  template <class Store>
  HWY_INLINE void block(std::int64_t i, Store store) const {
    store(hn::Combine(kBytes, some(i + vector_size()), some(i)), kBytes, to + i);
  }
  HWY_INLINE void vector(std::int64_t i) const { hn::StoreU(some(i), kPairBytes, to + i); }
  HWY_INLINE void single(std::int64_t i) const { to[i] = convert_element::pack_4bit(from[2 * i], from[2 * i + 1]); }
};

void pack_4bit(const std::uint8_t* codes, std::uint8_t* packed, std::int64_t n) noexcept {
  for_array(n / 2, Packing{codes, packed});
  if (n % 2 != 0) packed[n / 2] = convert_element::pack_4bit(codes[n - 1], 0);
}

template <class Code>
struct Unpacking {
  struct Out {
    Code low, high;
  };
  static constexpr std::int64_t kBytesRead = 1, kVectorsPerBlock = 1;
  static constexpr bool kSigned = static_cast<Code>(-1) < 0;
  const std::uint8_t* from;
  Out* to;

  static HWY_INLINE std::int64_t vector_size() { return static_cast<std::int64_t>(hn::Lanes(kPairs)); }
  template <class Store>
  HWY_INLINE void block(std::int64_t i, Store store) const {
    const auto both = hn::PromoteTo(kPairs, hn::LoadU(kPairBytes, from + i));
    const auto low = hn::And(both, hn::Set(kPairs, 0x0F));
    const auto high = hn::ShiftLeft<4>(hn::And(both, hn::Set(kPairs, 0xF0)));
    auto code = hn::BitCast(kBytes, hn::Or(low, high));
    const auto sign = hn::Set(kBytes, 8);
    if (kSigned) code = hn::Sub(hn::Xor(code, sign), sign);
    store(code, kBytes, reinterpret_cast<std::uint8_t*>(to + i));
  }
  HWY_INLINE void vector(std::int64_t i) const { block(i, StoreThroughCaches()); }
  HWY_INLINE void single(std::int64_t i) const {
    to[i] = {convert_element::unpack_4bit<Code>(from, 2 * i), convert_element::unpack_4bit<Code>(from, 2 * i + 1)};
  }
};

template <class Code>
void unpack_4bit(const std::uint8_t* packed, Code* codes, std::int64_t n) noexcept {
  for_array(n / 2, Unpacking<Code>{packed, reinterpret_cast<typename Unpacking<Code>::Out*>(codes)});
  if (n % 2 != 0) codes[n - 1] = convert_element::unpack_4bit<Code>(packed, n - 1);
}

// Compilers vectorize these loops for the instruction set of the namespace.
void narrow_half(const float* x, std::uint16_t* halves, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) halves[i] = float_to_float16(x[i]);
}

void widen_half(const std::uint16_t* halves, float* x, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) x[i] = float16_to_float(halves[i]);
}

const ConvertKernels* convert_of_target() {
  static const ConvertKernels kernels{
      .name = HWY_TARGET == HWY_AVX2 ? "avx2" : "avx512",
      .isa = HWY_TARGET == HWY_AVX2 ? Isa::avx2 : Isa::avx512vnni,
      .quantize_u8 = quantize<std::uint8_t>,
      .quantize_s8 = quantize<std::int8_t>,
      .dequantize_u8 = dequantize<std::uint8_t>,
      .dequantize_s8 = dequantize<std::int8_t>,
      .quantize_channels_u8 = quantize_channels<std::uint8_t>,
      .quantize_channels_s8 = quantize_channels<std::int8_t>,
      .dequantize_channels_u8 = dequantize_channels<std::uint8_t>,
      .dequantize_channels_s8 = dequantize_channels<std::int8_t>,
      .quantize_nchw_to_nhwc = quantize_nchw_to_nhwc,
      .dequantize_nhwc_to_nchw = dequantize_nhwc_to_nchw,
      .min_max = min_max,
      .min_max_channels = min_max_channels,
      .count_bins = count_bins,
      .find_non_finite = find_non_finite,
      .narrow_half = narrow_half,
      .widen_half = widen_half,
      .pack_4bit = pack_4bit,
      .unpack_u4 = unpack_4bit<std::uint8_t>,
      .unpack_s4 = unpack_4bit<std::int8_t>,
  };
  return &kernels;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace bitfold
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitfold {

const ConvertKernels& convert_kernels(Isa cap) {
  return select_kernels<ConvertKernels>(cap, HWY_CHOOSE_AVX3(convert_of_target), HWY_CHOOSE_AVX2(convert_of_target),
                                        kPortableConvertKernels);
}

}  // namespace bitfold
#endif
