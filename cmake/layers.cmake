# One object library per folder of src/. Its files are found by name; tests (*_test.cpp) and benchmarks (*_bench.cpp) are
# built separately.

find_package(fmt REQUIRED)
find_package(OpenMP REQUIRED)

# Flags for all code. Contraction into fused multiply-adds would make results depend on the instruction set
# (invariant 8), so it is off.
add_library(bitfold_flags INTERFACE)
target_compile_options(bitfold_flags INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers -ffp-contract=off
                                               $<$<BOOL:${BITFOLD_WERROR}>:-Werror>)
# GCC 12 warns about impossible overlaps in "literal" + std::string (GCC bug 105651).
target_compile_options(bitfold_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
# With AddressSanitizer it reports parts of std::regex as uninitialized (GCC bug 105562), so that is not an error.
target_compile_options(bitfold_flags INTERFACE $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${BITFOLD_WERROR}>>:-Wno-error=maybe-uninitialized>)
target_compile_definitions(bitfold_flags INTERFACE $<$<BOOL:${BITFOLD_PORTABLE}>:BITFOLD_PORTABLE>)

# bitfold_layer(NAME [LINK libraries...])
function(bitfold_layer name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cpp$")
  if(NOT sources)
    add_library(bitfold_${name} INTERFACE)
    return()
  endif()
  add_library(bitfold_${name} OBJECT ${sources})
  target_include_directories(bitfold_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(bitfold_${name} PUBLIC bitfold_flags fmt::fmt OpenMP::OpenMP_CXX ${ARG_LINK})
  set_target_properties(bitfold_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
