// The first of two files that include the whole library.
// SPDX-License-Identifier: Apache-2.0
#include <care/care.hpp>

int version_seen_by_the_other_unit();

int main() {
  const int version = CARE_VERSION_MAJOR * 10000 + CARE_VERSION_MINOR * 100 +
      CARE_VERSION_PATCH;
  return version == version_seen_by_the_other_unit() ? 0 : 1;
}
