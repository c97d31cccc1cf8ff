// Regular expressions in the syntax of RE2, as ONNX prescribes. Matching takes time proportional to the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bitfold::ops {

class Regex {
 public:
  /// Throws Error if the pattern is invalid or uses something that is not supported: flags, Unicode classes (\p), named
  /// classes ([:alpha:]). Groups, alternatives, repetitions, classes, ^, $, \b and \B are.
  explicit Regex(std::string_view pattern);

  /// Whether the whole text matches. A byte that is not UTF-8 counts as one character.
  bool matches(std::string_view text) const;

 private:
  friend class RegexCompiler;
  struct CharacterSet {
    std::vector<std::pair<char32_t, char32_t>> ranges;  ///< First and last character of each.
    bool is_negated = false;
    bool contains(char32_t c) const;
  };
  enum class Step : std::uint8_t { character, split, start, end, word_boundary, no_word_boundary, match };
  struct Instruction {
    Step step = Step::match;
    std::size_t set = 0;                    ///< An index into sets_, for the step `character`.
    std::size_t next = 0, alternative = 0;  ///< The next instructions; a split tries both.
  };
  void follow(std::size_t start, const std::u32string& text, std::size_t at, std::vector<std::size_t>& threads,
              std::vector<std::size_t>& seen) const;

  std::vector<Instruction> program_;
  std::vector<CharacterSet> sets_;
};

}  // namespace bitfold::ops
