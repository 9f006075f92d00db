// An arm of the study as loss, guide and order of the images.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_METHOD_HPP
#define CARE_EXAMPLES_STUDY_METHOD_HPP

#include "resnet_trainer/train.hpp"
#include "study/plan.hpp"

#include <cstdint>
#include <vector>

namespace study {

/// What train() takes. `guided`: the classes of arm.guide; `counts`: the
/// training images of each class. An arm without guidance keeps the factor that
/// its alpha (or weight) gives the classification loss: it is the control with
/// the attention loss at 0.
trainer::Method method_of(
    const Arm& arm,
    const std::vector<int64_t>& guided,
    const std::vector<int64_t>& counts,
    int64_t epochs,
    care::Size image,
    torch::Device device);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_METHOD_HPP
