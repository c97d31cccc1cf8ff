// Recognizes files of other formats, for error messages.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace bitfold {

/// The name of the file's format and the way to convert it: "is a PyTorch checkpoint; ...". Empty if its first bytes
/// and the ending of its name are those of no known format.
std::string other_format(std::span<const std::byte> bytes, const std::string& name);

}  // namespace bitfold
