// Prints small matrices side by side.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace notebook {

constexpr int kScientific = -2;  ///< A value for `decimals`: 4.83e+17

struct Matrix {
  std::string title;
  std::vector<float> values;
  int columns = 4;
  int decimals = 4;
};

/// Prints one matrix, or several side by side under their titles.
void print(const std::vector<Matrix>& matrices);

/// Prints a section's heading with the cells it covers.
void print_heading(const std::string& cells, const std::string& title);

/// The largest |a - b|.
float max_abs_difference(std::span<const float> a, std::span<const float> b);

}  // namespace notebook
