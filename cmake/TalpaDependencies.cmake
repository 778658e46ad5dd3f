find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET GLOBAL libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET GLOBAL libutf8proc)
pkg_check_modules(httplib REQUIRED IMPORTED_TARGET GLOBAL cpp-httplib)

if(TALPA_BUILD_LABORATORY)
  set(TALPA_VENV ${PROJECT_SOURCE_DIR}/.venv CACHE PATH "Virtual environment that holds torch")
  file(GLOB _torch ${TALPA_VENV}/lib/python3*/site-packages/torch)
  if(NOT EXISTS ${_torch}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "no torch in ${TALPA_VENV}: run scripts/bootstrap")
  endif()
  # Not find_package(Torch): where the wheel is PyPI's default one, built with CUDA, it wants CUDA's
  # development files, which linking with the wheel does not need.
  set(TORCH_INCLUDE_DIRS ${_torch}/include ${_torch}/include/torch/csrc/api/include)
  add_library(talpa_torch INTERFACE)
  target_link_libraries(talpa_torch INTERFACE
    ${_torch}/lib/libtorch_cpu.so ${_torch}/lib/libc10.so)
  # The libraries find each other, and CUDA's, by their own paths when they are loaded.
  target_link_options(talpa_torch INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
  if(EXISTS ${_torch}/lib/libtorch_cuda.so)
    target_link_libraries(talpa_torch INTERFACE -Wl,--push-state,--no-as-needed
      ${_torch}/lib/libtorch_cuda.so ${_torch}/lib/libc10_cuda.so -Wl,--pop-state)
  endif()
  set(TORCH_LIBRARIES talpa_torch)
endif()
if(TALPA_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
