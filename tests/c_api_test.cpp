// The C API: a program in C that calls every function, and the symbols that the library exports.
#include <sstream>

#include "small_network.h"

namespace bitfold::testing {
namespace {

class CApi : public SmallNetworkTest {};

TEST_F(CApi, serves_a_program_in_c) {
  const ToolResult result = run_command(fmt::format("{} {} {} {}", BITFOLD_C_PROGRAM, model(), data(), out()));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("the C API works"), std::string::npos) << result.output;
}

TEST_F(CApi, exports_nothing_but_its_functions) {
  const ToolResult result = run_command(fmt::format("nm -D --defined-only {}", BITFOLD_C_LIBRARY));
  ASSERT_EQ(result.status, 0) << result.output;
  std::istringstream lines(result.output);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_NE(line.find(" T bitfold_"), std::string::npos) << line;
  EXPECT_EQ(count, 15) << result.output;
}

}  // namespace
}  // namespace bitfold::testing
