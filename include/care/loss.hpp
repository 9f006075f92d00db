// Guidance losses: CARE's, and its peers' behind the same signature.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_HPP
#define CARE_LOSS_HPP

#include <care/loss/care.hpp>
#include <care/loss/energy.hpp>
#include <care/loss/gain.hpp>
#include <care/loss/hint.hpp>
#include <care/loss/l1.hpp>
#include <care/loss/ppce.hpp>
#include <care/loss/rrr.hpp>

#endif // CARE_LOSS_HPP
