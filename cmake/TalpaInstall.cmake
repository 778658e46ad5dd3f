# Installs the runtime half for find_package(talpa): headers, static libraries, talpa::<folder>.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)

get_property(runtime_targets GLOBAL PROPERTY TALPA_RUNTIME_TARGETS)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/talpa)

install(TARGETS ${runtime_targets} EXPORT talpaTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT talpaTargets NAMESPACE talpa:: DESTINATION ${package_dir})

foreach(target IN LISTS runtime_targets)
  string(REPLACE "talpa_" "" folder ${target})
  list(APPEND TALPA_COMPONENTS ${folder})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/talpa/${folder}
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/talpa FILES_MATCHING PATTERN "*.h")
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/talpaConfig.cmake.in
  ${PROJECT_BINARY_DIR}/talpaConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/talpaConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/talpaConfig.cmake
  ${PROJECT_BINARY_DIR}/talpaConfigVersion.cmake DESTINATION ${package_dir})
