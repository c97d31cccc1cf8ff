// Operators on strings, and those that map or count symbols.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/tensor.h"

namespace bitfold {

struct StringConcat {
  bool operator==(const StringConcat&) const = default;
};
/// x -> parts, filled with empty strings; the number of parts of each string
struct StringSplit {
  std::string delimiter;  ///< Empty: runs of white space.
  std::optional<std::int64_t> max_split;
  bool operator==(const StringSplit&) const = default;
};
enum class CaseChange { none, lower, upper };
struct StringNormalizer {
  CaseChange case_change = CaseChange::none;
  bool is_case_sensitive = false;  ///< Whether stop words are.
  std::string locale;
  std::vector<std::string> stop_words;
  bool operator==(const StringNormalizer&) const = default;
};
struct RegexFullMatch {
  std::string pattern;  ///< In the syntax of RE2.
  bool operator==(const RegexFullMatch&) const = default;
};
/// Maps keys to values. One list of keys and one of values are given.
struct LabelEncoder {
  std::vector<std::string> string_keys, string_values;
  std::vector<std::int64_t> int64_keys, int64_values;
  std::vector<float> float_keys, float_values;
  std::optional<Tensor> tensor_keys, tensor_values, tensor_default;
  std::string string_default = "_Unused";
  std::int64_t int64_default = -1;
  float float_default = -0.0F;
  bool operator==(const LabelEncoder&) const = default;
};
enum class TfIdfMode { tf, idf, tfidf };
/// Counts n-grams of a row of symbols.
struct TfIdfVectorizer {
  TfIdfMode mode = TfIdfMode::tf;
  std::int64_t min_gram = 1, max_gram = 1, max_skip = 0;
  std::vector<std::int64_t> counts, indexes;  ///< Where the n-grams of each length begin; the output of each n-gram.
  std::vector<std::int64_t> int64_pool;
  std::vector<std::string> string_pool;
  std::vector<float> weights;
  bool operator==(const TfIdfVectorizer&) const = default;
};

}  // namespace bitfold
