// What a mixed precision search has measured so far, kept in a file so that it can go on later.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bitfold/mixed_precision.h"

namespace bitfold::report {

/// A choice as text: "w4a8", "float".
std::string to_string(const LayerChoice& choice);

/// Everything measured depends on the fingerprint alone, never on the promise or the time: a search is a function of
/// its measurements, so that taking them from a file leads to the very same end.
struct SearchState {
  std::string fingerprint;
  std::map<std::string, double> noise;  ///< By "LAYER w4a8".
  std::vector<MixPoint> points;         ///< Without drop and is_on_front, which follow from the rest.

  const MixPoint* find(const std::vector<LayerChoice>& choices) const;
};

/// 64-bit FNV-1a, as hexadecimal digits.
std::string hash_of(const std::string& text);

/// Written under a temporary name and renamed (invariant 9).
void save_state(const SearchState& state, const std::string& path);
/// None when there is no such file. Throws Error naming file and key, or when its fingerprint is another.
std::optional<SearchState> load_state(const std::string& path, const std::string& fingerprint);

}  // namespace bitfold::report
