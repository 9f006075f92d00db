# Builds TARGET in BINARY: it must fail, with a message that matches EXPECT.
# SPDX-License-Identifier: Apache-2.0
execute_process(
  COMMAND ${CMAKE_COMMAND} --build ${BINARY} --target ${TARGET}
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)

if(result EQUAL 0)
  message(FATAL_ERROR "${TARGET} compiled, but must not.")
endif()

# Only the compiler's own error lines count, not the source lines it quotes.
string(REPLACE ";" "," output "${output}")
string(REGEX MATCHALL "[^\n]*error: [^\n]*" errors "${output}")
if(NOT errors MATCHES "${EXPECT}")
  message(FATAL_ERROR
    "${TARGET} did not compile, as it should, but no error matches\n"
    "  ${EXPECT}\nin:\n${output}")
endif()
message(STATUS "${TARGET}: refused with '${CMAKE_MATCH_0}'")
