# The trainer as its readers take it: copied out of the tree with the headers for
# weights, built against an installed care, it trains as the one in the tree does.
# SPDX-License-Identifier: Apache-2.0
file(REMOVE_RECURSE ${WORK})
file(COPY ${SOURCE}/examples/resnet_trainer DESTINATION ${WORK})
file(COPY ${SOURCE}/examples/weights DESTINATION ${WORK}/resnet_trainer)
execute_process(
  COMMAND ${CMAKE_COMMAND} --install ${BINARY} --prefix ${WORK}/installed
  OUTPUT_QUIET
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${CMAKE_COMMAND} -S ${WORK}/resnet_trainer -B ${WORK}/build
    -G ${GENERATOR} -C ${SETTINGS} -Dcare_DIR=${WORK}/installed/share/cmake/care
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${CMAKE_COMMAND} --build ${WORK}/build
  COMMAND_ERROR_IS_FATAL ANY)

# Twelve grey pictures in plain text; the rare ones have a light right half.
set(manifest "path,label,xmin,ymin,xmax,ymax\n")
foreach(i RANGE 11)
  math(EXPR dark "40 + 7 * ${i}")
  math(EXPR third "${i} % 3")
  set(light ${dark})
  if(third EQUAL 0)
    math(EXPR light "${dark} + 100")
    string(APPEND manifest "${i}.ppm,rare,16,0,32,32\n")
  else()
    string(APPEND manifest "${i}.ppm,common,,,,\n")
  endif()
  string(REPEAT "${dark} ${dark} 30 " 16 left)
  string(REPEAT "${light} ${light} 30 " 16 right)
  string(REPEAT "${left}${right}\n" 32 rows)
  file(WRITE ${WORK}/set/${i}.ppm "P3\n32 32\n255\n${rows}")
endforeach()
file(WRITE ${WORK}/set/manifest.csv "${manifest}")

foreach(where IN ITEMS tree copy)
  set(program ${WORK}/build/resnet_trainer)
  if(where STREQUAL "tree")
    set(program ${TRAINER})
  endif()
  execute_process(
    COMMAND ${program} --data ${WORK}/set/manifest.csv --size 32 --width 0.125
      --stage1 1 --stage2 1 --batch 4 --threads 1 --out ${WORK}/${where}
    COMMAND_ERROR_IS_FATAL ANY)
  file(READ ${WORK}/${where}/metrics.csv figures_${where})
  # Without the column of speeds, which is the last one.
  string(REGEX REPLACE ",[^,\n]*\n" "\n" figures_${where} "${figures_${where}}")
  file(READ ${WORK}/${where}/test.txt table)
  string(APPEND figures_${where} "${table}")
endforeach()
if(NOT figures_tree STREQUAL figures_copy)
  message(FATAL_ERROR
    "the copy trains otherwise:\n${figures_copy}\nin the tree:\n${figures_tree}")
endif()
message(STATUS "${figures_copy}")
