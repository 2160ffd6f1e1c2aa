# Every third-party package, with the version of Debian 12 as the minimum. scripts/install_packages
# installs them.
include(GoogleTest)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Eigen3 3.4 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
find_package(ZLIB 1.2.13 REQUIRED)
find_package(tl-expected 1.0 REQUIRED)
find_package(spdlog 1.10 REQUIRED)
find_package(CapnProto 0.9.2 REQUIRED)
find_package(RocksDB 7.8 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(prometheus-cpp REQUIRED)  # Its config file says no version.
find_package(Boost 1.81 REQUIRED)
pkg_check_modules(libhwy REQUIRED IMPORTED_TARGET libhwy>=1.0.3)
pkg_check_modules(libxxhash REQUIRED IMPORTED_TARGET libxxhash>=0.8.1)
pkg_check_modules(libsodium REQUIRED IMPORTED_TARGET libsodium>=1.0.18)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing>=2.3)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus>=3.3)
if(KVCOMMONS_ENABLE_TESTS)
  find_package(GTest 1.12 REQUIRED)
endif()
if(KVCOMMONS_ENABLE_BENCHMARKS)
  find_package(benchmark 1.7 REQUIRED)
endif()

# libllama: built once, optimised, by scripts/build_llama, and shared by all presets; so it lies
# beside their build folders, not in one of them.
if(KVCOMMONS_ENABLE_ENGINE)
  set(llama_deps_dir ${PROJECT_SOURCE_DIR}/build/deps)
  if(KVCOMMONS_LLAMA_CPP_DIR)
    set(llama_source_dir ${KVCOMMONS_LLAMA_CPP_DIR})
    set(llama_install_dir ${llama_deps_dir}/llama-own)
  else()
    execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/fetch_llama ${llama_deps_dir}
      OUTPUT_VARIABLE llama_source_dir OUTPUT_STRIP_TRAILING_WHITESPACE
      COMMAND_ERROR_IS_FATAL ANY)
    set(llama_install_dir ${llama_deps_dir}/llama)
  endif()
  execute_process(
    COMMAND ${PROJECT_SOURCE_DIR}/scripts/build_llama ${llama_source_dir} ${llama_install_dir}
    COMMAND_ERROR_IS_FATAL ANY)
  add_library(kvcommons_llama INTERFACE)
  add_library(llama::llama ALIAS kvcommons_llama)
  target_include_directories(kvcommons_llama SYSTEM INTERFACE ${llama_install_dir}/include)
  target_link_directories(kvcommons_llama INTERFACE ${llama_install_dir}/lib)
  target_link_options(kvcommons_llama INTERFACE -Wl,-rpath,${llama_install_dir}/lib)
  target_link_libraries(kvcommons_llama INTERFACE llama ggml ggml-base ggml-cpu)
endif()
