// Learning from imbalanced classes: weights, losses and samplers.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_HPP
#define CARE_IMBALANCE_HPP

#include <care/imbalance/batch_samplers.hpp>
#include <care/imbalance/class_weights.hpp>
#include <care/imbalance/epoch_sampler.hpp>
#include <care/imbalance/focal.hpp>
#include <care/imbalance/label_smoothing.hpp>
#include <care/imbalance/ldam.hpp>
#include <care/imbalance/logit_adjustment.hpp>
#include <care/imbalance/rank_sampler.hpp>
#include <care/imbalance/shuffle_sampler.hpp>
#include <care/imbalance/stratified_split.hpp>
#include <care/imbalance/weighted_samplers.hpp>

#endif // CARE_IMBALANCE_HPP
