# Imported targets of libraries whose Debian packages have no CMake files: re2::re2 (regular expressions),
# SndFile::sndfile and SampleRate::samplerate (decoding and resampling of audio).
function(bitfold_find_library target library header package)
  if(TARGET ${target})
    return()
  endif()
  find_library(BITFOLD_${library}_LIBRARY ${library})
  find_path(BITFOLD_${library}_INCLUDE ${header})
  mark_as_advanced(BITFOLD_${library}_LIBRARY BITFOLD_${library}_INCLUDE)
  if(NOT BITFOLD_${library}_LIBRARY OR NOT BITFOLD_${library}_INCLUDE)
    message(FATAL_ERROR "${library} is missing: install ${package}")
  endif()
  add_library(${target} UNKNOWN IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${BITFOLD_${library}_LIBRARY}"
                                             INTERFACE_INCLUDE_DIRECTORIES "${BITFOLD_${library}_INCLUDE}")
endfunction()

bitfold_find_library(SndFile::sndfile sndfile sndfile.h libsndfile1-dev)
bitfold_find_library(SampleRate::samplerate samplerate samplerate.h libsamplerate0-dev)
bitfold_find_library(re2::re2 re2 re2/re2.h libre2-dev)
