// expect: care::Guide: Loss must be callable as torch::Tensor
// A loss policy takes maps and the weights of their regions, not boxes.
// SPDX-License-Identifier: Apache-2.0
#include <care/guide.hpp>

struct WrongLoss {
  torch::Tensor operator()(
      const torch::Tensor& maps,
      const care::Boxes& /*boxes*/) const {
    return maps;
  }
};

care::Guide<care::GradCam, WrongLoss> guide;
