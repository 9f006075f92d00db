# Configures, builds and runs a consumer of the library, in a fresh folder.
# WAY is installed, build_tree, subdirectory or fetched.
# SPDX-License-Identifier: Apache-2.0
file(REMOVE_RECURSE ${WORK})

set(project subdirectory)
set(arguments "")
if(WAY STREQUAL "installed")
  execute_process(
    COMMAND ${CMAKE_COMMAND} --install ${BINARY} --prefix ${WORK}/installed
    COMMAND_ERROR_IS_FATAL ANY)
  # Moved, because a package may hold no path to where it was installed first.
  file(RENAME ${WORK}/installed ${WORK}/moved)
  set(project found)
  set(arguments -Dcare_DIR=${WORK}/moved/share/cmake/care)
elseif(WAY STREQUAL "build_tree")
  set(project found)
  set(arguments -Dcare_DIR=${BINARY})
elseif(WAY STREQUAL "subdirectory")
  set(arguments -DCARE_FOLDER=${SOURCE})
elseif(WAY STREQUAL "fetched")
  set(project fetched)
  set(arguments
    -DFETCHCONTENT_FULLY_DISCONNECTED=ON -DFETCHCONTENT_SOURCE_DIR_CARE=${SOURCE})
else()
  message(FATAL_ERROR "unknown way '${WAY}'")
endif()

execute_process(
  COMMAND ${CMAKE_COMMAND}
    -S ${SOURCE}/tests/package/${project} -B ${WORK}/build
    -G ${GENERATOR} -C ${SETTINGS} ${arguments}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${CMAKE_COMMAND} --build ${WORK}/build
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${WORK}/build/consumer
  OUTPUT_VARIABLE output
  COMMAND_ECHO STDOUT
  COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "${output}")
if(NOT output MATCHES "care ${VERSION}: ")
  message(FATAL_ERROR "the consumer did not say 'care ${VERSION}: ...'")
endif()
