// The exception type that Bitfold throws.
#pragma once

#include <stdexcept>
#include <string>

namespace bitfold {

/// Thrown on every failure. The message starts with the place: a file, `[Conv 'layer2.0.conv1']`, or an option name.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace bitfold
