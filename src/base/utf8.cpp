#include "base/utf8.h"

#include <cstddef>

namespace bitfold {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool is_code_point(char32_t c) { return c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF); }

}  // namespace

std::u32string from_utf8(std::string_view text) {
  std::u32string points;
  for (std::size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const std::size_t length = first < 0x80   ? 1
                               : first < 0xC2 ? 0
                               : first < 0xE0 ? 2
                               : first < 0xF0 ? 3
                               : first < 0xF5 ? 4
                                              : 0;
    char32_t point = length == 1 ? first : length == 0 ? 0 : first & (0x7FU >> length);
    bool is_valid = length > 0 && i + length <= text.size();
    for (std::size_t k = 1; is_valid && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      is_valid = (next & 0xC0U) == 0x80;
      point = point << 6U | (next & 0x3FU);
    }
    constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    is_valid = is_valid && is_code_point(point) && point >= kLeast[length];
    points.push_back(is_valid ? point : kReplacement);
    i += is_valid ? length : 1;
  }
  return points;
}

std::string to_utf8(std::u32string_view text) {
  std::string bytes;
  const auto add = [&](char32_t byte) { bytes.push_back(static_cast<char>(byte)); };
  for (char32_t point : text) {
    if (!is_code_point(point)) point = kReplacement;
    if (point < 0x80) {
      add(point);
      continue;
    }
    const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    constexpr char32_t kFirst[] = {0, 0xC0, 0xE0, 0xF0};
    add(kFirst[more] | point >> (6 * static_cast<unsigned>(more)));
    for (int k = more - 1; k >= 0; --k) add(0x80U | (point >> (6 * static_cast<unsigned>(k)) & 0x3FU));
  }
  return bytes;
}

}  // namespace bitfold
