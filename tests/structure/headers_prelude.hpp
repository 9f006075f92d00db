// What the examples in the headers' comments may use without saying where it is
// from.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_STRUCTURE_HEADERS_PRELUDE_HPP
#define CARE_TESTS_STRUCTURE_HEADERS_PRELUDE_HPP

#include "docs_prelude.hpp"

#include <string>
#include <vector>

/// The images' classes, as losses and as samplers want them.
struct HeadersTargets {
  operator torch::Tensor() const {
    return {};
  }
  operator std::vector<int64_t>() const {
    return {};
  }
};

// The variables of a training loop, under the names that the headers give them;
// nothing is run.
inline torch::Tensor images, masks, features, shallow, deep, logits, maps, Lc;
#define index headers_index // POSIX has a function of that name
inline torch::Tensor target, index, groups, hits_care, hits_ce, weights;
inline HeadersTargets targets;
inline int64_t epoch = 0;
inline uint64_t seed = 0;
inline size_t batches_done = 0, batch_size = 1, rank = 0, ranks = 1;
inline care::Guide<> guide;
inline care::GuidedLoss loss;
inline care::Seen seen;
inline care::Boxes boxes;
inline care::RegionWeights regions;
inline std::vector<care::Orientation> orientations;
inline torch::nn::Linear head{nullptr}, unet{nullptr};
inline torch::nn::CrossEntropyLoss criterion{nullptr};
inline torch::data::datasets::TensorDataset dataset{torch::Tensor()};
inline std::vector<bool> boxed;
inline std::vector<int64_t> training_counts;
inline std::vector<std::string> patients;
inline care::ConfusionMatrix matrix{2};

#endif // CARE_TESTS_STRUCTURE_HEADERS_PRELUDE_HPP
