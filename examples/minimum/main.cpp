// The smallest training loop with CARE: a toy network on random pictures.
// SPDX-License-Identifier: Apache-2.0
#include <care/care.hpp>

#include <torch/nn.h>
#include <torch/optim/adam.h>

#include <iostream>

int main() {
  torch::manual_seed(0);
  auto body = torch::nn::Sequential(
      torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 8, 3).stride(8).padding(1)),
      torch::nn::ReLU());
  auto head = torch::nn::Linear(8, 3);
  auto parameters = body->parameters();
  for (const auto& p : head->parameters()) {
    parameters.push_back(p);
  }
  torch::optim::Adam optimizer(parameters, 1e-2);

  const auto images = torch::rand({4, 3, 64, 64});
  const auto target = torch::tensor({0, 1, 2, 2}, torch::kLong);
  const auto boxes = care::Boxes::from_lists( // the rare class has boxes
      {{}, {}, {{8, 8, 32, 24}}, {{16, 24, 56, 60}}},
      {64, 64});

  const care::Guide guide(care::GuideOptions().classes({2}).alpha(0.5));
  for (int step = 0; step < 50; ++step) {
    auto seen = guide.watch(body->forward(images), [&](const auto& features) {
      return head(features.mean({2, 3}));
    });
    auto loss = guide.loss(
        torch::nn::functional::cross_entropy(seen.logits, target),
        seen,
        target,
        boxes);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 10 == 9) {
      std::cout << loss.str() << '\n';
    }
  }
}
