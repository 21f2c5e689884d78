# How .cu files are compiled by a C++ compiler, to run on the CPU fibers and the fake libraries of tests/cuda_shim. Included at
# the top, so that any program may link what comes of it.

# Objects of two compilers must agree on their sanitizers: take the C++ compiler that goes with the C compiler.
string(REGEX REPLACE "(/[^/]*)gcc(-[0-9.]+|)$" "\\1g++\\2" sibling "${CMAKE_C_COMPILER}")
string(REGEX REPLACE "(/[^/]*)clang(-[0-9.]+|)$" "\\1clang++\\2" sibling "${sibling}")
if(NOT CMAKE_CXX_COMPILER AND NOT sibling STREQUAL CMAKE_C_COMPILER AND EXISTS ${sibling})
  set(CMAKE_CXX_COMPILER ${sibling})
endif()
enable_language(CXX)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(SHIM ${CMAKE_SOURCE_DIR}/tests/cuda_shim)
set(SHIM_FLAGS -Wall -Wextra -Wshadow -Wdouble-promotion -Wundef -Wconversion -Wno-sign-conversion
  $<$<BOOL:${ERRATA_WERROR}>:-Werror>)
if(ERRATA_SANITIZE)
  list(APPEND SHIM_FLAGS -fno-omit-frame-pointer -fno-sanitize-recover=all)
  set(SHIM_SANITIZE -fsanitize=${ERRATA_SANITIZE})
endif()

# From a folder of its own only: nvcc may compile the same files in another.
function(shim_library name)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR} ${SHIM})
  target_compile_options(${name} PRIVATE ${SHIM_FLAGS} ${SHIM_SANITIZE})
  if(ERRATA_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${name} PRIVATE -fsanitize-sections=shim_shared)  # red zones between shared arrays
  endif()
  target_link_libraries(${name} INTERFACE cuda_fibers errata_kernels errata_io)
endfunction()
add_subdirectory(tests/cuda_shim)
