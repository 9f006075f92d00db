// examples/minimum without the library: what compile_time compares it with.
// SPDX-License-Identifier: Apache-2.0
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
  for (int step = 0; step < 50; ++step) {
    auto loss = torch::nn::functional::cross_entropy(
        head(body->forward(images).mean({2, 3})), target);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 10 == 9) {
      std::cout << loss.item<double>() << '\n';
    }
  }
}
