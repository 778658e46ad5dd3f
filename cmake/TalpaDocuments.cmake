# What an installed program has beside it: manual pages and completions as the program itself prints
# them, the documents, an example of a service.
include(GNUInstallDirs)

set(documents ${PROJECT_BINARY_DIR}/documents)
set(doc_dir ${CMAKE_INSTALL_DATADIR}/doc/talpa)
set(TALPA_DEBIAN_REVISION 1)
set(TALPA_MAINTAINER "talpa maintainers <talpa@maintainers.example>" CACHE STRING
  "Who maintains the package")
# Reproducible: the date of the last commit, not of the build.
execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} log -1 --format=%cD
  OUTPUT_VARIABLE TALPA_PACKAGE_DATE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT TALPA_PACKAGE_DATE)
  set(TALPA_PACKAGE_DATE "Thu, 01 Jan 1970 00:00:00 +0000")
endif()
configure_file(${PROJECT_SOURCE_DIR}/packaging/changelog.in ${documents}/changelog.Debian @ONLY)

install(CODE "
  set(talpa \"$<TARGET_FILE:talpa>\")
  set(documents \"${documents}\")
  set(sources \"${PROJECT_SOURCE_DIR}\")
  include(\"${CMAKE_CURRENT_LIST_DIR}/WriteDocuments.cmake\")
  " COMPONENT runtime)
install(DIRECTORY ${documents}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
install(FILES ${documents}/completion/talpa COMPONENT runtime
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${documents}/completion/_talpa COMPONENT runtime
  DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${documents}/completion/talpa.fish COMPONENT runtime
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES ${documents}/changelog.gz ${documents}/changelog.Debian.gz
  ${PROJECT_SOURCE_DIR}/packaging/copyright DESTINATION ${doc_dir} COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/packaging/talpa.service
  ${PROJECT_SOURCE_DIR}/packaging/talpa.default
  DESTINATION ${doc_dir}/examples COMPONENT runtime)
