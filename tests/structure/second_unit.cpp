// A unit with the whole library, linked to another such unit.
// SPDX-License-Identifier: Apache-2.0
#include <care/care.hpp>
