# Turns the code of the docs into a program.
#
# care_docs_blocks(<programs> <pages> <folder> [<prelude>]) takes each block of
# the pages whose fence reads exactly ```cpp and writes to the folder
#   docs_blocks.cpp    each block in a function of its own, in the namespace of
#                      its page; its #include lines move to the top. A block
#                      after the line <!-- file scope --> stands outside
#                      functions, and the later blocks of its page see it.
#                      Blocks see what docs_prelude.hpp declares, or another
#                      prelude.
#   docs_<page>_<n>.cpp  each block with an `int main` as it is.
# and puts the names of the latter, without .cpp, into the variable. Errors name
# the line of the page.
# SPDX-License-Identifier: Apache-2.0
string(ASCII 1 semicolon)
string(ASCII 2 open)
string(ASCII 3 close)
string(ASCII 4 backslash)

# The file's lines; what means something in a CMake list is put aside.
function(care_docs_lines lines file)
  file(READ ${file} text)
  string(REPLACE ";" "${semicolon}" text "${text}")
  string(REPLACE "[" "${open}" text "${text}")
  string(REPLACE "]" "${close}" text "${text}")
  string(REPLACE "\\" "${backslash}" text "${text}")
  string(REPLACE "\r" "" text "${text}")
  string(REPLACE "\n" ";" text "${text}")
  set(${lines} "${text}" PARENT_SCOPE)
endfunction()

# care_header_pages(<pages> <headers> <folder>) writes a page for each header
# whose comments hold examples, lines indented by three that end in a semicolon, with
# each where it stands in the header, and puts the pages into the variable.
function(care_header_pages pages headers folder)
  set(written "")
  foreach(header IN LISTS headers)
    cmake_path(RELATIVE_PATH header BASE_DIRECTORY ${PROJECT_SOURCE_DIR}
      OUTPUT_VARIABLE shown)
    care_docs_lines(lines ${header})
    set(page "")
    set(block "") # its lines so far
    set(is_code FALSE)
    foreach(line IN LISTS lines)
      if(line MATCHES "^ *///   (.*)$")
        string(APPEND block "${CMAKE_MATCH_1}\n")
        if(line MATCHES "${semicolon}( *//.*)?$")
          set(is_code TRUE)
        endif()
        continue()
      endif()
      if(is_code) # between the line before it and this one
        if(page MATCHES "```\n$")
          message(FATAL_ERROR "${shown}: two lines between examples, at least")
        endif()
        string(REGEX REPLACE "[^\n]*\n$" "" page "${page}")
        string(APPEND page "```cpp\n${block}```\n")
      else()
        string(REGEX REPLACE "[^\n]+" "" block "${block}")
        string(APPEND page "${block}\n")
      endif()
      set(block "")
      set(is_code FALSE)
    endforeach()
    if(page MATCHES "```")
      cmake_path(REPLACE_EXTENSION shown LAST_ONLY md)
      care_docs_write(${folder}/${shown} "${page}")
      list(APPEND written ${folder}/${shown})
    endif()
  endforeach()
  set(${pages} ${written} PARENT_SCOPE)
endfunction()

# Writes the text, with what was put aside, unless the file has it already.
function(care_docs_write file text)
  string(REPLACE "${semicolon}" ";" text "${text}")
  string(REPLACE "${open}" "[" text "${text}")
  string(REPLACE "${close}" "]" text "${text}")
  string(REPLACE "${backslash}" "\\" text "${text}")
  file(WRITE ${file}.new "${text}")
  file(COPY_FILE ${file}.new ${file} ONLY_IF_DIFFERENT)
endfunction()

function(care_docs_blocks programs pages folder)
  set(prelude docs_prelude.hpp ${ARGN})
  list(GET prelude -1 prelude)
  set(includes "")
  set(bodies "")
  set(calls "")
  set(names "")

  foreach(page IN LISTS pages)
    cmake_path(GET page STEM LAST_ONLY page_name)
    string(MAKE_C_IDENTIFIER "${page_name}" page_name)
    cmake_path(RELATIVE_PATH page BASE_DIRECTORY ${PROJECT_SOURCE_DIR}
      OUTPUT_VARIABLE shown)

    care_docs_lines(lines ${page})
    set(number 0)
    set(count 0)
    set(inside FALSE)
    set(file_scope FALSE)
    foreach(line IN LISTS lines)
      math(EXPR number "${number} + 1")
      if(NOT inside)
        if(line STREQUAL "```cpp")
          set(inside TRUE)
          set(block "")
          set(block_includes "")
          math(EXPR first "${number} + 1")
          math(EXPR count "${count} + 1")
        elseif(line MATCHES "^<!-- file scope -->$")
          set(file_scope TRUE)
        elseif(NOT line STREQUAL "")
          set(file_scope FALSE)
        endif()
      elseif(NOT line STREQUAL "```")
        if(line MATCHES "^#include " )
          string(APPEND block_includes "${line}\n")
          string(APPEND block "\n")
        else()
          string(APPEND block "${line}\n")
        endif()
      else()
        set(inside FALSE)
        set(from "#line ${first} \"${shown}\"\n")
        if(block MATCHES "int main\\(")
          set(name docs_${page_name}_${count})
          care_docs_write(${folder}/${name}.cpp
            "${block_includes}${from}${block}")
          list(APPEND names ${name})
        else()
          string(APPEND includes "${block_includes}")
          string(APPEND bodies "namespace docs_${page_name} {\n")
          if(file_scope)
            string(APPEND bodies "${from}${block}")
          else()
            string(APPEND bodies
              "static void block_${count}() {\n${from}${block}}\n")
            string(APPEND calls "  run(\"${shown}:${first}\", "
              "docs_${page_name}::block_${count})${semicolon}\n")
          endif()
          string(APPEND bodies "} // namespace docs_${page_name}\n")
        endif()
        set(file_scope FALSE)
      endif()
    endforeach()
    if(inside)
      message(FATAL_ERROR "${shown}:${first}: this block has no end")
    endif()
  endforeach()

  set(text "#include \"${prelude}\"\n${includes}${bodies}\n")
  string(APPEND text "int main() {\n  DocsRunner run${semicolon}\n${calls}"
    "  return run.failures()${semicolon}\n}\n")
  care_docs_write(${folder}/docs_blocks.cpp "${text}")
  set(${programs} ${names} PARENT_SCOPE)
endfunction()
