// Sums of floats without rounding.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace bitfold {

/// The sum of any floats, exact: a fixed-point number whose unit is the least float, 2^-149, and which is wide enough
/// for 2^63 of the largest (Kulisch, "Computer Arithmetic and Validity", 2008, chapter 8). So it does not depend on the
/// order or grouping of its terms, which a sum in double does.
class ExactSum {
 public:
  /// A float, or a part of another sum. Throws Error unless |x| < 2^192 and x is a multiple of 2^-149.
  void add(double x);
  void add(const ExactSum& other);
  /// Without the bits below the leading 53.
  double value() const;
  /// The fewest leading parts of 53 bits that add up to it, the largest first; none for 0.
  std::vector<double> parts() const;

  bool operator==(const ExactSum&) const = default;

 private:
  std::array<std::uint64_t, 6> words_{};  ///< Two's complement, the lowest word first.
};

}  // namespace bitfold
