// The second of two files that include the whole library.
// SPDX-License-Identifier: Apache-2.0
#include <care/care.hpp>

int version_seen_by_the_other_unit();

int version_seen_by_the_other_unit() {
  return CARE_VERSION_MAJOR * 10000 + CARE_VERSION_MINOR * 100 +
      CARE_VERSION_PATCH;
}
