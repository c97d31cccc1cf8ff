#include "bitfold/exact_sum.h"

#include <bit>
#include <cmath>

#include "base/check.h"

namespace bitfold {
namespace {

using Words = std::array<std::uint64_t, 6>;
constexpr int kUnitExponent = -149;
constexpr int kMaxExponent = 192;
constexpr int kWordBits = 64, kMantissaBits = 53;

void add_words(Words& sum, const Words& term) {
  std::uint64_t carry = 0;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const std::uint64_t with_carry = sum[i] + carry;
    const std::uint64_t first = with_carry < carry ? 1 : 0;
    sum[i] = with_carry + term[i];
    carry = first + (sum[i] < with_carry ? 1 : 0);
  }
}

Words negated(Words words) {
  for (std::uint64_t& word : words) word = ~word;
  add_words(words, {1});
  return words;
}

bool is_negative(const Words& words) { return (words.back() >> (kWordBits - 1)) != 0; }

// bits * 2^place
Words shifted(std::uint64_t bits, int place) {
  Words words{};
  const auto word = static_cast<std::size_t>(place / kWordBits);
  const int shift = place % kWordBits;
  words[word] = bits << shift;
  if (shift > 0 && word + 1 < words.size()) words[word + 1] = bits >> (kWordBits - shift);
  return words;
}

// Index of the highest bit set; -1 for 0.
int highest_bit(const Words& words) {
  for (std::size_t i = words.size(); i-- > 0;)
    if (words[i] != 0) return static_cast<int>(i) * kWordBits + kWordBits - 1 - std::countl_zero(words[i]);
  return -1;
}

// Bits [place, place + 53).
std::uint64_t bits_from(const Words& words, int place) {
  const auto word = static_cast<std::size_t>(place / kWordBits);
  const int shift = place % kWordBits;
  std::uint64_t bits = words[word] >> shift;
  if (shift > 0 && word + 1 < words.size()) bits |= words[word + 1] << (kWordBits - shift);
  return bits & ((std::uint64_t{1} << kMantissaBits) - 1);
}

}  // namespace

void ExactSum::add(double x) {
  if (x == 0) return;
  check(std::isfinite(x) && std::fabs(x) < std::ldexp(1.0, kMaxExponent), "{} is too large for an exact sum of floats",
        x);
  int exponent = 0;
  auto bits = static_cast<std::uint64_t>(std::ldexp(std::frexp(std::fabs(x), &exponent), kMantissaBits));
  int place = exponent - kMantissaBits - kUnitExponent;
  if (place < 0) {
    check(place > -kMantissaBits && std::countr_zero(bits) >= -place,
          "{} is not a multiple of the smallest float, so it is not an exact sum of floats", x);
    bits >>= -place;
    place = 0;
  }
  const Words term = shifted(bits, place);
  add_words(words_, x < 0 ? negated(term) : term);
}

void ExactSum::add(const ExactSum& other) { add_words(words_, other.words_); }

std::vector<double> ExactSum::parts() const {
  const bool negative = is_negative(words_);
  Words rest = negative ? negated(words_) : words_;
  std::vector<double> parts;
  for (int top = highest_bit(rest); top >= 0; top = highest_bit(rest)) {
    const int place = top < kMantissaBits ? 0 : top - kMantissaBits + 1;
    const std::uint64_t bits = bits_from(rest, place);
    const double part = std::ldexp(static_cast<double>(bits), place + kUnitExponent);
    parts.push_back(negative ? -part : part);
    add_words(rest, negated(shifted(bits, place)));
  }
  return parts;
}

double ExactSum::value() const {
  const std::vector<double> all = parts();
  return all.empty() ? 0 : all.front();
}

}  // namespace bitfold
