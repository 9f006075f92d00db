// Whole files: read, told apart, and written so that no half is left.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_FILES_HPP
#define RESNET_TRAINER_FILES_HPP

#include <filesystem>
#include <string>
#include <string_view>

namespace trainer {

/// The whole file as bytes. Throws std::runtime_error with the path and the
/// system's reason.
std::string read_file(const std::filesystem::path& path);

/// 16 hexadecimal digits that change when the bytes do (FNV-1a, 64 bits): tells
/// edited files apart, not forged ones.
std::string fingerprint(std::string_view bytes);
std::string fingerprint_of_file(const std::filesystem::path& path);

/// Writes the whole file or nothing, through `<path>.part`; makes its folder
/// where it lacks. A `durable` one is on the disk before it takes the old one's
/// place, which may take a hundredth of a second. A link stays one, and what is
/// no file (/dev/stdout) is written to. Throws std::runtime_error with the
/// system's reason.
void write_atomically(
    const std::filesystem::path& path,
    std::string_view bytes,
    bool durable = true);

/// Throws likewise where nothing could be written there. Makes the folder.
void check_writable(const std::filesystem::path& path);

/// Whether it is no file that keeps what is written: /dev/stdout, /dev/null.
bool is_device(const std::filesystem::path& path);

} // namespace trainer

#endif // RESNET_TRAINER_FILES_HPP
