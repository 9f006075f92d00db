// files: whole files read and written, never half a file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_FILES_HPP
#define CARE_EXAMPLES_COMMON_FILES_HPP

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace common {

/// Replaces the file at `path` by `bytes` (text or binary) in one step: a
/// reader, also after a crash or a full disk, finds the old file or the new
/// one. The folder is made when it is missing. Throws std::runtime_error with
/// the path and the system's reason.
void write_atomically(
    const std::filesystem::path& path,
    std::string_view bytes);

/// The same with JSON. Names that are not UTF-8 get a mark, for they must not
/// end a long training.
void write_json(
    const std::filesystem::path& path,
    const nlohmann::ordered_json& json);

/// The whole file as bytes. Throws std::runtime_error with the path and the
/// system's reason.
std::string read_file(const std::filesystem::path& path);

/// 16 hexadecimal digits that change when the bytes do (FNV-1a, 64 bits): tells
/// edited files apart, not forged ones.
std::string fingerprint(std::string_view bytes);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_FILES_HPP
