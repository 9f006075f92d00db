// What a user's own project would do: one guided training step.
// SPDX-License-Identifier: Apache-2.0
#include <care/guide.hpp>
#include <care/version.hpp>

#include <torch/nn/functional/loss.h>

#include <iostream>

int main() {
  torch::manual_seed(0);
  const auto boxes =
      care::Boxes::from_lists({{{10, 20, 60, 80}}, {}}, {96, 96});
  const auto target = torch::tensor({1, 0}, torch::kLong);
  auto kernel = torch::randn({8, 3, 16, 16}).requires_grad_();
  const auto weight = torch::randn({2, 8});

  const care::Guide guide(care::GuideOptions().classes({1}));
  const auto features =
      torch::conv2d(torch::rand({2, 3, 96, 96}), kernel, {}, 16).relu();
  const auto seen = guide.watch(features, [&](const torch::Tensor& x) {
    return torch::matmul(x.mean({2, 3}), weight.t());
  });
  const auto loss = guide.loss(
      torch::nn::functional::cross_entropy(seen.logits, target),
      seen,
      target,
      boxes);
  loss.backward();

  std::cout << "care " << CARE_VERSION_MAJOR << "." << CARE_VERSION_MINOR << "."
            << CARE_VERSION_PATCH << ": " << loss.str() << '\n';
  const bool moved =
      kernel.grad().defined() && kernel.grad().abs().sum().item<double>() > 0;
  return loss.attention.guided == 1 && moved ? 0 : 1;
}
