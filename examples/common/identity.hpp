// identity: whether a folder's runs were made as those to come will be.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_IDENTITY_HPP
#define CARE_EXAMPLES_COMMON_IDENTITY_HPP

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace common {

/// Adds what tells `manifest` from an edited one: its content's fingerprint.
/// Nothing for an empty path or a file that does not exist.
void add_fingerprint(
    nlohmann::ordered_json& identity,
    const std::string& manifest);

/// A setting that two identities do not share, as JSON.
struct Mismatch {
  std::string key, theirs, mine;
};

/// The first entry of `mine` that the JSON file at `path` has otherwise or has
/// not.
std::optional<Mismatch> mismatch(
    const std::filesystem::path& path,
    const nlohmann::ordered_json& mine);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_IDENTITY_HPP
