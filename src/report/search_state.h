// The measurements of a mixed precision search, kept in a file so that the search can resume.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bitfold/mixed_precision.h"

namespace bitfold::report {

/// A choice as text: "w4a8", "float".
std::string to_string(const LayerChoice& choice);

/// A layer quantized with these bits while all others run in float.
struct LoneLayer {
  std::string node;
  LayerChoice choice;

  bool operator==(const LoneLayer&) const = default;
  bool operator<(const LoneLayer& other) const {
    return std::tie(node, choice.weight_bits, choice.activation_bits) <
           std::tie(other.node, other.choice.weight_bits, other.choice.activation_bits);
  }
};

/// Measurements depend only on the fingerprint, not on the loss limit or the time. A search is a function of its
/// measurements, so a resumed search has the same result as an uninterrupted one.
struct SearchState {
  std::string fingerprint;
  std::map<LoneLayer, double> noise;
  /// Measured points; drop and is_on_front are not stored, because they follow from the rest.
  std::vector<MixPoint> points;

  const MixPoint* find(const std::vector<LayerChoice>& choices) const;
};

/// 64-bit FNV-1a as hexadecimal digits.
std::string hash_of(const std::string& text);

/// Written under a temporary name and renamed (invariant 9).
void save_state(const SearchState& state, const std::string& path);
/// Empty if there is no such file. Throws Error naming file and key, or if the fingerprint differs.
std::optional<SearchState> load_state(const std::string& path, const std::string& fingerprint);

}  // namespace bitfold::report
