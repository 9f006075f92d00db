// Metrics: what a confusion matrix tells, where attention lies, how sure it is.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_HPP
#define CARE_METRICS_HPP

#include <care/metrics/attention.hpp>
#include <care/metrics/bootstrap.hpp>
#include <care/metrics/comparison.hpp>
#include <care/metrics/confusion.hpp>
#include <care/metrics/groups.hpp>
#include <care/metrics/random_effects.hpp>
#include <care/metrics/ranking.hpp>

#endif // CARE_METRICS_HPP
