# bitfold_embed(TARGET OUTPUT NAMESPACE NAME FILE [NAME FILE]...): functions `std::string_view NAME()` that return the text of
# the files, in a source file that is regenerated when a file changes. Run as a script (cmake -P), it generates that file.
if(CMAKE_SCRIPT_MODE_FILE)
  set(text "// Made by cmake/embed.cmake.\n#include <string_view>\n\nnamespace ${NAMESPACE} {\n")
  string(REPLACE "|" ";" PAIRS "${PAIRS}")
  foreach(pair ${PAIRS})
    string(REPLACE "=" ";" pair ${pair})
    list(GET pair 0 name)
    list(GET pair 1 path)
    file(READ ${path} content)
    # In pieces, because compilers limit the length of a literal.
    string(LENGTH "${content}" length)
    string(APPEND text "std::string_view ${name}() {\n  static constexpr std::string_view kText =\n")
    set(at 0)
    while(at LESS length)
      string(SUBSTRING "${content}" ${at} 12000 piece)
      string(APPEND text "R\"~~~~(${piece})~~~~\"\n")
      math(EXPR at "${at} + 12000")
    endwhile()
    string(APPEND text ";\n  return kText;\n}\n")
  endforeach()
  file(WRITE ${OUTPUT} "${text}}  // namespace ${NAMESPACE}\n")
  return()
endif()

set(bitfold_embed_script ${CMAKE_CURRENT_LIST_FILE})
function(bitfold_embed target output namespace)
  set(pairs)
  set(files)
  set(rest ${ARGN})
  while(rest)
    list(POP_FRONT rest name path)
    list(APPEND pairs "${name}=${path}")
    list(APPEND files ${path})
  endwhile()
  string(JOIN "|" joined ${pairs})
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DNAMESPACE=${namespace} "-DPAIRS=${joined}" -P ${bitfold_embed_script}
    DEPENDS ${files} ${bitfold_embed_script}
    VERBATIM)
  set_source_files_properties(${output} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_sources(${target} PRIVATE ${output})
endfunction()
