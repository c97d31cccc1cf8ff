// Parts of the text form of a graph: numbers, quoted names, tensors, and the fields of operators. Internal to graph/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bitfold/graph.h"

namespace bitfold::text {

/// Reads one line from left to right. Spaces separate and are skipped. All functions throw Error naming what was
/// expected.
class Cursor {
 public:
  explicit Cursor(std::string_view line) : line_(line) {}
  bool at_end();
  bool next_is(char c);
  bool accept(std::string_view token);  ///< Skips `token` if it comes next.
  void expect(std::string_view token);
  std::string word();  ///< Up to a space, '=', or bracket.
  std::string quoted();
  std::int64_t integer();
  double real();
  std::vector<std::int64_t> integers();  ///< [1,2,?]: ? is kDynamic
  std::vector<double> reals();
  std::string_view rest() const { return line_; }

 private:
  void skip_spaces();
  std::string_view line_;
};

/// A quoted name. Quotes and backslashes are written as \" and \\, and characters outside printable ASCII as \xNN.
std::string quoted(std::string_view name);
std::string print(const Shape& dims);
std::string print(const std::vector<float>& numbers);
std::string print(const std::vector<std::int32_t>& numbers);
std::string print_elements(const Tensor& tensor);
void read_elements(Cursor& line, Tensor& tensor);
QuantParams read_grid(Cursor& line);
DataType parse_dtype(std::string_view word);

/// The operator's word, without an Opaque's domain: "Conv", "Opaque".
std::string op_word(const Op& op);
std::string print_attributes(const Op& op);         ///< {name=value ...}
Op read_op(const std::string& word, Cursor& line);  ///< Reads the attributes; Error on an unknown word.

}  // namespace bitfold::text
