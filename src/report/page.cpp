// The page: a template into which the styles, the chart library, the script and the data are inserted. All but the data
// are files in page/, embedded when the library is built.
#include <string_view>

#include "bitfold/analysis.h"
#include "report/page_parts.h"

namespace bitfold {
namespace {

// JSON for use inside a <script>: contains no "</script>" or "<!--".
std::string for_script(const std::string& json) {
  std::string safe;
  safe.reserve(json.size());
  for (const char c : json) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return safe;
}

}  // namespace

std::string analysis_page(const Analysis& analysis) {
  const std::string data = for_script(analysis_json(analysis));
  std::string page;
  std::string_view rest = report::page_template();
  while (true) {
    const std::size_t mark = rest.find("@@");
    page += rest.substr(0, mark);
    if (mark == std::string_view::npos) return page;
    rest.remove_prefix(mark + 2);
    const std::string_view name = rest.substr(0, rest.find("@@"));
    rest.remove_prefix(name.size() + 2);
    page += name == "style"     ? report::page_style()
            : name == "library" ? report::page_library()
            : name == "licence" ? report::page_licence()
            : name == "charts"  ? report::page_charts()
            : name == "script"  ? report::page_script()
                                : std::string_view(data);
  }
}

}  // namespace bitfold
