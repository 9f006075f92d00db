// charts: the charts of the report, as SVG in HTML.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_CHARTS_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_CHARTS_HPP

#include "resnet_trainer/run.hpp"
#include "resnet_trainer/summary.hpp"

#include <string>
#include <vector>

namespace trainer {

/// Loss, validation MCA and attention inside the boxes by epoch, under a
/// heading; empty without epochs.
std::string curves_html(const std::vector<Run>& runs);

/// The differences as points with whiskers; empty without any.
std::string forest_html(const Difference& difference);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_CHARTS_HPP
