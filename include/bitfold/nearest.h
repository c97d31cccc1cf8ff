// Suggestions for unknown keys and names in error messages.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace bitfold {

/// The word in `words` with the least edit distance (Levenshtein) to `word`; the first one if several are equally near.
/// Empty if every word differs in more than two letters and in more than a third of them, which is too much for a
/// typing mistake.
std::string nearest(std::string_view word, std::span<const std::string_view> words);

/// "; did you mean 'X'?" with X = nearest(), or an empty string.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> words);

}  // namespace bitfold
