# How we compile llama.cpp, without touching its source: included after its project() call
# (CMAKE_PROJECT_INCLUDE).
if(PROJECT_NAME STREQUAL "llama.cpp")
  set(kvcommons_rules_dir "${CMAKE_CURRENT_LIST_DIR}")  # A deferred call sees another list dir.
  # Halves the time libllama takes: the 150 files of this target build the graphs of all model
  # families. None of them is in the arithmetic, which is ggml's and stays -O3.
  cmake_language(DEFER CALL target_compile_options llama PRIVATE -O1)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13.3)
    cmake_language(DEFER CALL target_compile_options ggml-cpu PRIVATE
      "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include ${kvcommons_rules_dir}/GccAmxTiles.h>")
  endif()
endif()
