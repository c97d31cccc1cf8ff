# cmake --install: headers, both libraries, the tool, and a package for find_package(bitfold).
include(CMakePackageConfigHelpers)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/bitfold DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
set_target_properties(bitfold_runtime PROPERTIES EXPORT_NAME runtime)
install(TARGETS bitfold_runtime bitfold EXPORT bitfold_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT bitfold_targets NAMESPACE bitfold:: FILE bitfold-targets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitfold)
if(TARGET bitfold_cli)
  install(TARGETS bitfold_cli DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/bitfold-config.cmake.in ${PROJECT_BINARY_DIR}/bitfold-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitfold)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bitfold-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bitfold-config.cmake ${PROJECT_BINARY_DIR}/bitfold-config-version.cmake
              ${PROJECT_SOURCE_DIR}/cmake/find_library.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bitfold)
