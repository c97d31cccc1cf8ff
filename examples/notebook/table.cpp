#include "table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace notebook {
namespace {

std::string row_text(const Matrix& m, std::size_t row) {
  std::string text;
  const auto columns = static_cast<std::size_t>(m.columns);
  for (std::size_t c = 0; c < columns; ++c) {
    char cell[32];
    const int width = m.decimals == 0 ? 5 : 10;
    // + 0.0F turns -0 into 0
    const double value = static_cast<double>(m.values[row * columns + c] + 0.0F);
    std::snprintf(cell, sizeof cell, m.decimals == kScientific ? "%*.*e" : "%*.*f", width, std::abs(m.decimals), value);
    text += cell;
  }
  return text;
}

std::size_t row_count(const Matrix& m) { return m.values.size() / static_cast<std::size_t>(m.columns); }

}  // namespace

void print(const std::vector<Matrix>& matrices) {
  std::vector<std::size_t> widths;
  std::size_t rows = 0;
  for (const Matrix& m : matrices) {
    widths.push_back(std::max(row_text(m, 0).size(), m.title.size() + 2));
    rows = std::max(rows, row_count(m));
  }
  for (std::size_t i = 0; i < matrices.size(); ++i)
    std::printf("%*s%s", static_cast<int>(widths[i]), matrices[i].title.c_str(),
                i + 1 < matrices.size() ? "   " : "\n");
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < matrices.size(); ++i)
      std::printf("%*s%s", static_cast<int>(widths[i]),
                  row < row_count(matrices[i]) ? row_text(matrices[i], row).c_str() : "",
                  i + 1 < matrices.size() ? "   " : "\n");
}

void print_heading(const std::string& cells, const std::string& title) {
  std::printf("\n== %s: %s\n\n", cells.c_str(), title.c_str());
}

float max_abs_difference(std::span<const float> a, std::span<const float> b) {
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace notebook
