// Exact sums of floats.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace bitfold {

/// An exact sum of any floats: a fixed-point number whose unit is the least float, 2^-149, wide enough for 2^63 of the
/// largest (Kulisch, "Computer Arithmetic and Validity", 2008, chapter 8). Unlike a sum in double, it does not depend
/// on the order or grouping of its terms.
class ExactSum {
 public:
  /// Adds a float, or a part of another sum. Throws Error unless |x| < 2^192 and x is a multiple of 2^-149.
  void add(double x);
  void add(const ExactSum& other);
  /// The sum rounded to its leading 53 bits.
  double value() const;
  /// The sum as the fewest doubles that add up to it exactly, largest first; empty for 0.
  std::vector<double> parts() const;

  bool operator==(const ExactSum&) const = default;

 private:
  std::array<std::uint64_t, 6> words_{};  ///< Two's complement, the lowest word first.
};

}  // namespace bitfold
