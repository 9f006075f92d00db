# LibTorch by its own package file, with three things mended:
#
# - The package file of a CUDA build, as PyPI's ordinary Linux wheel is one,
#   fails where the CUDA toolkit is missing or does not suit, also for programs
#   that compile no CUDA. There, the libraries are imported by the list beside
#   it; they bring CUDA's along, and use a GPU where there is one.
# - Of two LibTorches it may import the other's libraries.
# - LibTorch 2.14 ends with #error before C++20, but does not ask CMake for it.

# Which package file would be taken? To ask for a version that cannot be lists
# them and runs none; but it forgets a Torch_DIR that was given.
set(care_dir "${Torch_DIR}")
find_package(Torch 999999 CONFIG QUIET)
unset(Torch_DIR CACHE)
foreach(care_file care_version IN ZIP_LISTS
  Torch_CONSIDERED_CONFIGS Torch_CONSIDERED_VERSIONS)
  if(care_version VERSION_GREATER_EQUAL "${Torch_FIND_VERSION}")
    cmake_path(GET care_file PARENT_PATH care_dir)
    set(Torch_VERSION ${care_version})
    break()
  endif()
endforeach()
if(care_dir)
  set(Torch_DIR "${care_dir}" CACHE PATH "The folder of TorchConfig.cmake")
endif()
get_filename_component(care_root "${Torch_DIR}/../../.." ABSOLUTE)
get_filename_component(care_caffe2 "${Torch_DIR}/../Caffe2" ABSOLUTE)

# The package file's error would end the run: try it in a project aside.
set(care_failed FALSE)
if(EXISTS "${care_root}/lib/libtorch_cuda.so")
  if(NOT CARE_TORCH_TRIED STREQUAL Torch_DIR)
    set(care_try "")
    foreach(care_name IN ITEMS
      CMAKE_CUDA_COMPILER
      CMAKE_CXX_COMPILER
      CMAKE_MAKE_PROGRAM
      CMAKE_PREFIX_PATH
      CMAKE_TOOLCHAIN_FILE
      CUDAToolkit_ROOT
      CUDA_TOOLKIT_ROOT_DIR
      Torch_DIR)
      if(${care_name})
        string(APPEND care_try
          "set(${care_name} [==[${${care_name}}]==] CACHE STRING \"\")\n")
      endif()
    endforeach()
    set(care_folder "${CMAKE_BINARY_DIR}/CMakeFiles/care_torch")
    file(WRITE "${care_folder}/CMakeLists.txt"
      "cmake_minimum_required(VERSION 3.25)\n${care_try}"
      "project(care_torch LANGUAGES CXX)\n"
      "set(Caffe2_DIR [==[${care_caffe2}]==])\n"
      "find_package(Torch CONFIG REQUIRED)\n")
    execute_process(
      COMMAND ${CMAKE_COMMAND} --fresh -G ${CMAKE_GENERATOR}
        -S "${care_folder}" -B "${care_folder}/build"
      RESULT_VARIABLE care_failed
      OUTPUT_FILE "${care_folder}/log.txt" ERROR_FILE "${care_folder}/log.txt")
    set(CARE_TORCH_TRIED "${Torch_DIR}" CACHE INTERNAL "")
    set(CARE_TORCH_FAILED "${care_failed}" CACHE INTERNAL "")
  endif()
  set(care_failed "${CARE_TORCH_FAILED}")
endif()

if(care_failed)
  # The list links targets that the package file makes of CUDA's and others'
  # libraries: empty ones here, for LibTorch's libraries bring those along.
  file(STRINGS "${care_caffe2}/Caffe2Targets.cmake" care_links
    REGEX "INTERFACE_LINK_LIBRARIES")
  string(REGEX MATCHALL "[A-Za-z0-9_]+::[A-Za-z0-9_]+" care_links
    "${care_links}")
  foreach(care_link IN LISTS care_links)
    if(NOT TARGET ${care_link})
      add_library(${care_link} INTERFACE IMPORTED)
    endif()
  endforeach()
  include("${care_caffe2}/Caffe2Targets.cmake")

  set(TORCH_INCLUDE_DIRS
    "${care_root}/include" "${care_root}/include/torch/csrc/api/include")
  set(TORCH_LIBRARIES torch)
  file(STRINGS "${Torch_DIR}/TorchConfig.cmake" care_abi
    REGEX "_GLIBCXX_USE_CXX11_ABI=[01]")
  string(REGEX MATCH "-D_GLIBCXX_USE_CXX11_ABI=[01]" TORCH_CXX_FLAGS
    "${care_abi}")
  set_target_properties(torch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${TORCH_INCLUDE_DIRS}"
    INTERFACE_COMPILE_OPTIONS "${TORCH_CXX_FLAGS}")
  message(STATUS "LibTorch is a CUDA build, used here without a CUDA toolkit")
else()
  # The package file looks for this one everywhere.
  if(EXISTS "${care_caffe2}/Caffe2Config.cmake")
    set(Caffe2_DIR "${care_caffe2}")
  endif()
  find_package(Torch ${Torch_FIND_VERSION} CONFIG QUIET)
endif()

if(TARGET torch AND Torch_VERSION VERSION_GREATER_EQUAL 2.14)
  set_property(TARGET torch APPEND PROPERTY
    INTERFACE_COMPILE_FEATURES cxx_std_20)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Torch
  REQUIRED_VARS Torch_DIR
  VERSION_VAR Torch_VERSION
  REASON_FAILURE_MESSAGE "See care's README, 'Use it in your project'.")
