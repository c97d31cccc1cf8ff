// The one way Bitfold reports a failure to its caller.
#pragma once

#include <stdexcept>
#include <string>

namespace bitfold {

/// Thrown by everything that loads, optimizes, calibrates, quantizes or compiles.
/// The message starts with where: a file, `[Conv 'layer2.0.conv1']`, an option name.
/// Running a compiled Session never throws: what could go wrong was checked when it was built.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace bitfold
