# Several test programs run at once, so waiting OpenMP threads must yield their cores.
set(bitfold_test_environment OMP_WAIT_POLICY=passive)

# bitfold_folder_tests(FOLDER): one test program from all *_test.cpp under src/FOLDER.
function(bitfold_folder_tests folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${folder}_test ${sources})
  target_link_libraries(${folder}_test PRIVATE bitfold::bitfold bitfold_testing fmt::fmt)
  target_include_directories(${folder}_test PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  gtest_discover_tests(${folder}_test TEST_PREFIX "${folder}/" DISCOVERY_TIMEOUT 60
                       PROPERTIES ENVIRONMENT "${bitfold_test_environment}")
endfunction()
