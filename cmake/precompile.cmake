# Headers that nearly every source file includes, precompiled: they take a third of the time of a build from scratch.
# Source files include what they use all the same: the presets other than `release` do without precompiled headers.
set(bitfold_common_headers <algorithm> <array> <cstdint> <functional> <map> <memory> <optional> <span> <string>
                           <string_view> <utility> <vector> <fmt/format.h> ${PROJECT_SOURCE_DIR}/include/bitfold/graph.h
                           ${PROJECT_SOURCE_DIR}/src/ops/operator.h)
# With full paths, ccache never gives one checkout the precompiled header of another, whose "#pragma once" names other
# files.

# ccache needs the flag to see which precompiled header a file includes.
function(bitfold_precompile target)
  target_precompile_headers(${target} ${ARGN})
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endfunction()
