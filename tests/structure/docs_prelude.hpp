// What the code blocks of the docs may use without saying where it is from.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_STRUCTURE_DOCS_PRELUDE_HPP
#define CARE_TESTS_STRUCTURE_DOCS_PRELUDE_HPP

#include <care/care.hpp>

#include <torch/torch.h>

#include <exception>
#include <iostream>
#include <memory>
#include <vector>

namespace F = torch::nn::functional;

// The README's training loop: a network, and a loader of two small batches.
struct DocsNet : torch::nn::Module {
  torch::nn::Conv2d body{
      torch::nn::Conv2dOptions(3, 8, 3).stride(8).padding(1)};
  torch::nn::Linear head{8, 3};

  torch::Tensor forward(const torch::Tensor& images) {
    return head(body(images).relu().mean({2, 3}));
  }
};

struct DocsBatch {
  torch::Tensor images = torch::rand({2, 3, 64, 64});
  torch::Tensor targets = torch::tensor({0, 2}, torch::kLong);
  care::Boxes boxes = care::Boxes::from_lists({{}, {{8, 8, 40, 32}}}, {64, 64});
};

inline const auto net = std::make_shared<DocsNet>();
inline const auto loader = std::make_shared<std::vector<DocsBatch>>(2);
inline torch::optim::SGD optimizer(net->body->parameters(), 0.1);

/// Runs one block after the other and counts those that throw.
class DocsRunner {
 public:
  template <typename Block>
  void operator()(const char* place, Block&& block) {
    torch::manual_seed(0);
    std::cout << place << std::endl;
    try {
      block();
    } catch (const std::exception& error) {
      std::cout << place << ": failed: " << error.what() << std::endl;
      ++failures_;
    }
  }

  int failures() const {
    return failures_;
  }

 private:
  int failures_ = 0;
};

#endif // CARE_TESTS_STRUCTURE_DOCS_PRELUDE_HPP
