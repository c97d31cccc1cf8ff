// Printing small matrices next to each other.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace notebook {

constexpr int kScientific = -2;  ///< As `decimals`: 4.83e+17

struct Matrix {
  std::string title;
  std::vector<float> values;
  int columns = 4;
  int decimals = 4;
};

/// One matrix, or several side by side under their titles.
void print(const std::vector<Matrix>& matrices);

/// A section's heading: which cells it walks.
void print_heading(const std::string& cells, const std::string& title);

/// The largest |a - b|.
float max_abs_difference(std::span<const float> a, std::span<const float> b);

}  // namespace notebook
