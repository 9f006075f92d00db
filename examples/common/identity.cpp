// identity: whether a folder's runs were made as those to come will be.
// SPDX-License-Identifier: Apache-2.0
#include "common/identity.hpp"

#include "common/files.hpp"

#include <nlohmann/json.hpp>

namespace common {

using Json = nlohmann::ordered_json;

void add_fingerprint(Json& identity, const std::string& manifest) {
  if (std::filesystem::exists(manifest)) {
    identity["fingerprint of " + manifest] = fingerprint(read_file(manifest));
  }
}

std::optional<Mismatch> mismatch(
    const std::filesystem::path& path,
    const Json& mine) {
  const auto theirs = Json::parse(read_file(path), nullptr, false);
  for (const auto& item : mine.items()) {
    const auto other = theirs.is_object() && theirs.contains(item.key())
        ? theirs[item.key()].dump()
        : std::string("nothing");
    if (other != item.value().dump()) {
      return Mismatch{item.key(), other, item.value().dump()};
    }
  }
  return std::nullopt;
}

} // namespace common
