// Text as code points.
#pragma once

#include <string>
#include <string_view>

namespace bitfold {

/// The code points of a UTF-8 text. A byte that is not part of a valid sequence becomes U+FFFD.
std::u32string from_utf8(std::string_view text);
/// UTF-8 of code points. A number that is not a code point becomes U+FFFD.
std::string to_utf8(std::u32string_view text);

}  // namespace bitfold
