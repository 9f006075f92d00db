// The networks of this folder by their names, behind one type.
// SPDX-License-Identifier: Apache-2.0
#include "networks/by_name.hpp"

#include "networks/convnext.hpp"
#include "networks/densenet.hpp"
#include "networks/efficientnet_lite.hpp"
#include "networks/mobilenet.hpp"
#include "networks/vgg.hpp"
#include "networks/vit.hpp"
#include "resnet_trainer/resnet.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace networks {
namespace {

template <int64_t depth>
Network resnet(const NetworkOptions& o) {
  return Network(nn::AnyModule(trainer::ResNet(
      trainer::ResNetOptions{depth, o.classes, o.width, o.last_stride})));
}

template <class Net, class Options>
Network other(const NetworkOptions& o) {
  Options options;
  options.classes = o.classes;
  return Network(nn::AnyModule(Net(options)));
}

bool is_frozen(const nn::Module& module) {
  const auto parameters = module.parameters();
  return !parameters.empty() &&
      std::none_of(parameters.begin(), parameters.end(), [](const auto& p) {
        return p.requires_grad();
      });
}

} // namespace

NetworkImpl::NetworkImpl(const nn::AnyModule& net) : net_(net) {
  // The parts, not the whole: their names stay without a prefix.
  for (const auto& item : net.ptr()->named_parameters(/*recurse=*/false)) {
    register_parameter(item.key(), item.value());
  }
  for (const auto& item : net.ptr()->named_children()) {
    register_module(item.key(), item.value());
  }
}

void NetworkImpl::freeze_until(const std::string& stage) {
  std::vector<torch::Tensor> before;
  bool found = false;
  for (const auto& item : named_parameters()) { // in the order of the layers
    found = item.key().rfind(stage + ".", 0) == 0;
    if (found) {
      break;
    }
    before.push_back(item.value());
  }
  std::string layers;
  for (const auto& item : named_modules("", /*include_self=*/false)) {
    if (std::count(item.key().begin(), item.key().end(), '.') < 2 &&
        !item.value()->parameters().empty()) {
      layers += " " + item.key();
    }
  }
  TORCH_CHECK_VALUE(
      found && !before.empty(),
      "freeze_until: expected a layer behind the first, one of",
      layers,
      ", but got ",
      stage);
  for (auto& parameter : before) {
    parameter.requires_grad_(false);
  }
}

void NetworkImpl::train(bool on) {
  Module::train(on);
  net_.ptr()->train(on);
  for (const auto& module : modules(/*include_self=*/false)) {
    if (is_frozen(*module)) {
      module->eval();
    }
  }
}

const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> all{
      {"resnet18", {"fc", kImageNet, resnet<18>}},
      {"resnet34", {"fc", kImageNet, resnet<34>}},
      {"resnet50", {"fc", kImageNet, resnet<50>}},
      {"resnet101", {"fc", kImageNet, resnet<101>}},
      {"resnet152", {"fc", kImageNet, resnet<152>}},
      {"vgg16",
       {"classifier.6", VggImpl::kNormalisation, other<Vgg, VggOptions>}},
      {"densenet121",
       {"classifier",
        DenseNetImpl::kNormalisation,
        other<DenseNet, DenseNetOptions>}},
      {"mobilenet_v2",
       {"classifier.1",
        MobileNetV2Impl::kNormalisation,
        other<MobileNetV2, MobileNetOptions>}},
      {"efficientnet_lite0",
       {"_fc",
        EfficientNetLiteImpl::kNormalisation,
        other<EfficientNetLite, EfficientNetLiteOptions>}},
      {"convnext_tiny",
       {"classifier.2",
        ConvNextImpl::kNormalisation,
        other<ConvNext, ConvNextOptions>,
        care::TargetLayer().channels_last()}},
      {"vit_ti_16",
       {"heads.head",
        VitImpl::kNormalisation,
        other<Vit, VitOptions>,
        care::TargetLayer().tokens(1, {14, 14}),
        224}}};
  return all;
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& item : families()) {
    all.push_back(item.first);
  }
  return all;
}

void check(
    const std::string& name,
    const NetworkOptions& options,
    const std::string& before) {
  const auto found = families().find(name);
  if (found == families().end()) {
    throw std::invalid_argument(fmt::format(
        "{}net: expected one of {}, but got '{}'",
        before,
        fmt::join(names(), ", "),
        name));
  }
  const auto need = [&](const char* key, auto number, auto wanted) {
    if (number != wanted) {
      throw std::invalid_argument(fmt::format(
          "{}{}: expected {} for {}, but got {}",
          before,
          key,
          wanted,
          name,
          number));
    }
  };
  const auto [width, height] = options.size;
  const auto image = found->second.image;
  const bool scaled = is_resnet(name);
  need("width", options.width, scaled ? options.width : 1.0);
  need("last_stride", options.last_stride, scaled ? options.last_stride : 2);
  need("size", width, image > 0 ? image : width);
  need("size", height, image > 0 ? image : height);
}

Network make(const std::string& name, const NetworkOptions& options) {
  check(name, options);
  return families().at(name).make(options);
}

bool set_batch_norm_momentum(const nn::Module& net, double momentum) {
  bool has_any = false;
  for (const auto& module : net.modules(/*include_self=*/false)) {
    if (auto* norm = module->as<nn::BatchNorm2d>()) {
      norm->options.momentum(momentum);
      has_any = true;
    }
  }
  return has_any;
}

} // namespace networks
