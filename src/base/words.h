// Words for the enumerators of an enum, in the order of the enum.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "base/check.h"

namespace bitfold {

/// Throws Error "unknown KIND 'WORD': it is one of ..." if `word` matches no enumerator.
template <class Enum, std::size_t kCount>
Enum parse_word(std::string_view kind, std::string_view word, const std::array<std::string_view, kCount>& words) {
  const auto found = std::find(words.begin(), words.end(), word);
  check(found != words.end(), "unknown {} '{}': it is one of {}", kind, word, fmt::join(words, ", "));
  return static_cast<Enum>(found - words.begin());
}

}  // namespace bitfold
