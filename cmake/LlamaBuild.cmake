# Halves the time libllama takes to compile without touching its source: included after its project()
# call (CMAKE_PROJECT_INCLUDE), it lowers the optimisation of the one target whose 150 files build the
# graphs of all model families. None of them is in the arithmetic, which is ggml's and stays -O3.
if(PROJECT_NAME STREQUAL "llama.cpp")
  cmake_language(DEFER CALL target_compile_options llama PRIVATE -O1)
endif()
