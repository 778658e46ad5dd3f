# One target a folder. A folder may use only the folders named behind USES, and through them
# what those use; tests/layering_test.py checks the includes against the same lists.

add_library(talpa_options INTERFACE)
target_compile_features(talpa_options INTERFACE cxx_std_20)
target_compile_options(talpa_options INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers)
if(TALPA_SANITIZE)
  target_compile_options(talpa_options INTERFACE -fsanitize=${TALPA_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(talpa_options INTERFACE -fsanitize=${TALPA_SANITIZE})
endif()

# talpa_folder(NAME USES folder... LINKS library... [TORCH])
function(talpa_folder name)
  cmake_parse_arguments(arg "TORCH" "" "USES;LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  if(NOT sources)
    return()
  endif()
  set(target talpa_${name})
  add_library(${target} STATIC ${sources})
  add_library(talpa::${name} ALIAS ${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:include>)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:talpa_options>)
  target_compile_features(${target} PUBLIC cxx_std_20)
  foreach(folder IN LISTS arg_USES)
    if(TARGET talpa_${folder})
      target_link_libraries(${target} PUBLIC talpa_${folder})
    endif()
  endforeach()
  target_link_libraries(${target} PUBLIC ${arg_LINKS})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON EXPORT_NAME ${name})
  if(arg_TORCH)
    talpa_use_torch(${target})
  else()
    set_property(GLOBAL APPEND PROPERTY TALPA_RUNTIME_TARGETS ${target})
    if(TARGET talpa_pch AND NOT name STREQUAL "base")
      target_precompile_headers(${target} REUSE_FROM talpa_pch)
    endif()
  endif()
endfunction()

# Links libtorch and reuses its precompiled header.
function(talpa_use_torch target)
  talpa_torch_headers(${target} PUBLIC)
  target_link_libraries(${target} PUBLIC ${TORCH_LIBRARIES})
  # The precompiled header was made with it; executables would get -fPIE.
  target_compile_options(${target} PRIVATE -fPIC)
  target_precompile_headers(${target} REUSE_FROM talpa_torch_pch)
endfunction()

# The wheel carries headers of a newer fmt than Debian's; a link to Debian's, searched first, keeps
# one version in every object.
function(talpa_torch_headers target scope)
  find_path(FMT_INCLUDE_DIR fmt/format.h PATHS /usr/include NO_DEFAULT_PATH REQUIRED)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/debian-fmt)
  file(CREATE_LINK ${FMT_INCLUDE_DIR}/fmt ${PROJECT_BINARY_DIR}/debian-fmt/fmt SYMBOLIC)
  target_include_directories(${target} SYSTEM ${scope}
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/debian-fmt> ${TORCH_INCLUDE_DIRS})
endfunction()

# Puts a file's text into a target as `extern const std::string_view NAME` of namespace talpa::embedded.
function(talpa_embed target file name)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  set(script ${PROJECT_SOURCE_DIR}/cmake/EmbedText.cmake)
  add_custom_command(OUTPUT ${source} DEPENDS ${file} ${script}
    COMMAND ${CMAKE_COMMAND} -DINPUT=${file} -DOUTPUT=${source} -DNAME=${name} -P ${script})
  target_sources(${target} PRIVATE ${source})
  set_source_files_properties(${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()
