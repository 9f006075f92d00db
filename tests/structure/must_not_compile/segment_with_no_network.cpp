// expect: care: expected a network: a torch::nn module, a holder or pointer
// A base class has no forward.
// SPDX-License-Identifier: Apache-2.0
#include <care/segmentation.hpp>

void watch(const std::shared_ptr<torch::nn::Module>& model) {
  care::segment(torch::rand({1, 3, 8, 8}), model);
}
