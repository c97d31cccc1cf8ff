// The files of page/, embedded by cmake/embed.cmake.
#pragma once

#include <string_view>

namespace bitfold::report {

std::string_view page_template();
std::string_view page_style();
std::string_view page_charts();
std::string_view page_script();
std::string_view page_library();  ///< D3, minified.
std::string_view page_licence();  ///< The licence of D3.

}  // namespace bitfold::report
