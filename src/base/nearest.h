// The word a user probably meant: for messages about unknown keys and names.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace bitfold {

/// The word of `words` with the least edit distance (Levenshtein) to `word`; the first of several. Empty when none is
/// near enough to be a slip: more than a third of its letters, and more than two, would have to change.
std::string nearest(std::string_view word, std::span<const std::string_view> words);

/// "; did you mean 'X'?" after nearest(), or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> words);

}  // namespace bitfold
