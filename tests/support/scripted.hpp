// A TorchScript network in a file, as it comes from Python, made in C++.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_SCRIPTED_HPP
#define CARE_TESTS_SUPPORT_SCRIPTED_HPP

#include <torch/script.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <string>

namespace care_test {

struct ScriptedOptions {
  int64_t channels = 32; ///< of the first convolution; the others have 2x, 4x
  int64_t classes = 1000;
};

/// Writes a network of three convolutions to `path`, for torch::jit::load. Each
/// is followed by BatchNorm and x * sigmoid(x), which the script's optimiser
/// fuses. The script has `forward`, `features` and `classify`.
inline void write_scripted(
    const std::string& path,
    const ScriptedOptions& options = {}) {
  torch::jit::Module net("Scripted");
  net.register_attribute("training", c10::BoolType::get(), true);
  const auto parameter = [&](const std::string& name, torch::Tensor value) {
    net.register_parameter(name, value.requires_grad_(), /*is_buffer=*/false);
  };
  int64_t in = 3;
  for (int i = 0; i < 3; ++i) {
    const auto number = std::to_string(i + 1);
    const auto out = options.channels << i;
    const auto size = std::sqrt(2 / static_cast<double>(in * 9));
    parameter("conv" + number, torch::randn({out, in, 3, 3}) * size);
    parameter("scale" + number, torch::ones({out}));
    parameter("shift" + number, torch::zeros({out}));
    net.register_buffer("mean" + number, torch::zeros({out}));
    net.register_buffer("var" + number, torch::ones({out}));
    in = out;
  }
  parameter(
      "weight",
      torch::randn({options.classes, in}) / std::sqrt(static_cast<double>(in)));
  parameter("bias", torch::zeros({options.classes}));
  net.define(R"(
    def features(self, x):
      x = torch.conv2d(x, self.conv1, None, [2, 2], [1, 1])
      x = torch.batch_norm(x, self.scale1, self.shift1, self.mean1, self.var1,
                           self.training, 0.1, 1e-5, False)
      x = x * torch.sigmoid(x)
      x = torch.conv2d(x, self.conv2, None, [2, 2], [1, 1])
      x = torch.batch_norm(x, self.scale2, self.shift2, self.mean2, self.var2,
                           self.training, 0.1, 1e-5, False)
      x = x * torch.sigmoid(x)
      x = torch.conv2d(x, self.conv3, None, [2, 2], [1, 1])
      x = torch.batch_norm(x, self.scale3, self.shift3, self.mean3, self.var3,
                           self.training, 0.1, 1e-5, False)
      return x * torch.sigmoid(x)

    def classify(self, features):
      pooled = torch.mean(features, [2, 3])
      return torch.matmul(pooled, self.weight.t()) + self.bias

    def forward(self, x):
      return self.classify(self.features(x))
  )");
  net.save(path);
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_SCRIPTED_HPP
