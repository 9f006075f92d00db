// expect: care::Guide: Map must be callable as torch::Tensor
// A map policy takes the features and their gradients; this one takes logits.
// SPDX-License-Identifier: Apache-2.0
#include <care/guide.hpp>

struct WrongMap {
  torch::Tensor operator()(const torch::Tensor& logits) const {
    return logits;
  }
};

care::Guide<WrongMap> guide;
