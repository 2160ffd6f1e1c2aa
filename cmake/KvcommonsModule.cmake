# The one place with CMake cleverness: a folder is a library, its tests sit beside its sources, and
# an upward dependency stops the configuration.

# What every target of ours is compiled with. Not global: third-party targets keep their own flags.
add_library(kvcommons_options INTERFACE)
target_compile_options(kvcommons_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  $<$<BOOL:${KVCOMMONS_WARNINGS_ARE_ERRORS}>:-Werror>)
if(KVCOMMONS_SANITIZER)
  target_compile_options(kvcommons_options INTERFACE
    -fsanitize=${KVCOMMONS_SANITIZER} -fno-omit-frame-pointer)
  if(KVCOMMONS_SANITIZER MATCHES undefined)
    target_compile_options(kvcommons_options INTERFACE -fno-sanitize-recover=undefined)
  endif()
  if(KVCOMMONS_SANITIZER MATCHES thread)
    # GCC's thread sanitizer does not know fences (and warns); Asio can do without them.
    target_compile_definitions(kvcommons_options INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
  target_link_options(kvcommons_options INTERFACE -fsanitize=${KVCOMMONS_SANITIZER})
endif()

set(KVCOMMONS_INCLUDE_REGEX "^#include \"(base|kernels|align|store|schema|daemon|client|agents)/")

# Stops the configuration where `name` links or includes a layer that is not in its row.
function(kvcommons_check_layers name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FILES;DEPS")
  foreach(dep IN LISTS arg_DEPS)
    if(dep MATCHES "^kvcommons::(.*)" AND NOT CMAKE_MATCH_1 STREQUAL name
       AND NOT CMAKE_MATCH_1 IN_LIST KVCOMMONS_LAYER_${name})
      message(FATAL_ERROR "${name} must not depend on ${dep}: see the layers in CMakeLists.txt")
    endif()
  endforeach()
  # Includes are from the root, so linking alone would not notice a header taken from above.
  foreach(file IN LISTS arg_FILES)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(STRINGS ${file} includes REGEX "${KVCOMMONS_INCLUDE_REGEX}")
    foreach(line IN LISTS includes)
      string(REGEX REPLACE "^#include \"([a-z]+)/.*" "\\1" layer "${line}")
      if(NOT layer STREQUAL name AND NOT layer IN_LIST KVCOMMONS_LAYER_${name})
        message(FATAL_ERROR "${file} includes ${layer}/: see the layers in CMakeLists.txt")
      endif()
    endforeach()
  endforeach()
endfunction()

# kvcommons_module(<name> SOURCES ... HEADERS ... [TESTS ...] [BENCHMARKS ...]
#                  [DEPS ...] [PRIVATE_DEPS ...] [TEST_DEPS ...])
#
# One folder is one library, kvcommons::<name>. Its unit tests and micro-benchmarks are files beside
# its sources, listed in the same call, so that a source without a test shows in review.
# DEPS are visible in our headers; PRIVATE_DEPS are not.
function(kvcommons_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" ""
    "SOURCES;HEADERS;TESTS;BENCHMARKS;DEPS;PRIVATE_DEPS;TEST_DEPS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "kvcommons_module(${name}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  kvcommons_check_layers(${name}
    FILES ${arg_SOURCES} ${arg_HEADERS} ${arg_TESTS} ${arg_BENCHMARKS}
    DEPS ${arg_DEPS} ${arg_PRIVATE_DEPS} ${arg_TEST_DEPS})

  add_library(kvcommons_${name} STATIC ${arg_SOURCES})
  add_library(kvcommons::${name} ALIAS kvcommons_${name})
  target_sources(kvcommons_${name} PUBLIC
    FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  target_include_directories(kvcommons_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(kvcommons_${name}
    PUBLIC ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS} kvcommons_options)

  if(KVCOMMONS_ENABLE_TESTS AND arg_TESTS)
    # One binary a folder: linking, not compiling, is what many small test binaries would cost.
    kvcommons_test(${name}_test SOURCES ${arg_TESTS}
      DEPS kvcommons::${name} ${arg_PRIVATE_DEPS} ${arg_TEST_DEPS} LABELS unit ${name})
  endif()
  if(KVCOMMONS_ENABLE_BENCHMARKS)
    foreach(source IN LISTS arg_BENCHMARKS)
      cmake_path(GET source STEM stem)
      add_executable(${stem} ${source})
      target_link_libraries(${stem} PRIVATE
        kvcommons::${name} kvcommons_options benchmark::benchmark_main)
    endforeach()
  endif()
endfunction()

# A test program; every TEST() of it is one entry of ctest. A skipped test says why.
function(kvcommons_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;DEPS;LABELS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} kvcommons_options GTest::gmock GTest::gtest_main)
  # One label, "unit.base": a list would be taken apart on its way, and the rest of it for the next
  # property's name.
  list(JOIN arg_LABELS "." label)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${label}" TIMEOUT ${arg_TIMEOUT})
endfunction()

# A program: a main.cc that parses and wires, on top of a library that has the logic and the tests.
function(kvcommons_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} kvcommons_options)
endfunction()
