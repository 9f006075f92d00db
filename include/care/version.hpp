// The version of the library, read by CMake and by `#if`.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_VERSION_HPP
#define CARE_VERSION_HPP

#define CARE_VERSION_MAJOR 0
#define CARE_VERSION_MINOR 1
#define CARE_VERSION_PATCH 0

#endif // CARE_VERSION_HPP
