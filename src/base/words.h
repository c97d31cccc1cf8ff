// The words that stand for the enumerators of an enum in files, flags and messages.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace bitfold {

/// One row per enumerator. Writing, parsing and listing the words all read these rows.
template <class Enum, std::size_t kCount>
struct EnumWords {
  std::array<std::pair<Enum, std::string_view>, kCount> rows;

  constexpr std::string_view word(Enum value) const {
    for (const auto& [candidate, word] : rows)
      if (candidate == value) return word;
    return "?";
  }
  std::optional<Enum> find(std::string_view word) const {
    for (const auto& [candidate, known] : rows)
      if (known == word) return candidate;
    return std::nullopt;
  }
  std::vector<std::string_view> words() const {
    std::vector<std::string_view> all;
    for (const auto& [candidate, word] : rows) all.push_back(word);
    return all;
  }
};

}  // namespace bitfold
