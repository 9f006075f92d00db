// The methods by name: where the map comes from, and how it becomes boxes.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/methods.hpp"

#include "auto_boxes/train_unet.hpp"

#include <care/saliency.hpp>
#include <care/segmentation.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <map>
#include <stdexcept>

namespace auto_boxes {
namespace {

using care::BoxFinderOptions;
using care::MapThreshold;

void apply(const FinderChoice& choice, BoxFinderOptions& finder) {
  static const std::map<std::string, MapThreshold> kThresholds{
      {"otsu", MapThreshold::kOtsu},
      {"mean", MapThreshold::kMean},
      {"quantile", MapThreshold::kQuantile},
      {"fixed", MapThreshold::kFixed}};
  if (choice.threshold) {
    const auto found = kThresholds.find(*choice.threshold);
    if (found == kThresholds.end()) {
      throw std::invalid_argument(fmt::format(
          "--threshold: expected otsu, mean, quantile or fixed, but got {}",
          *choice.threshold));
    }
    finder.threshold(found->second);
  }
  if (choice.level) {
    finder.level(*choice.level);
  }
  if (choice.min_area) {
    finder.min_area(*choice.min_area);
  }
  if (choice.merge_gap) {
    finder.merge_gap(*choice.merge_gap);
  }
  if (choice.padding) {
    finder.padding(*choice.padding);
  }
  if (choice.min_confidence) {
    finder.min_confidence(*choice.min_confidence);
  }
  if (choice.max_boxes) {
    finder.max_boxes(*choice.max_boxes);
  }
}

Method make_method(
    const std::string& name,
    const std::filesystem::path& network) {
  const auto twice_the_mean = BoxFinderOptions().threshold(MapThreshold::kMean);
  if (name == "background") {
    return {
        name,
        [](const torch::Tensor& x) { return care::robust_background(x); },
        twice_the_mean};
  }
  if (name == "frequency") {
    return {
        name,
        [](const torch::Tensor& x) { return care::frequency_tuned(x); },
        twice_the_mean};
  }
  if (name == "lesion") {
    return {
        name,
        [](const torch::Tensor& x) { return care::lesion_contrast(x); },
        BoxFinderOptions()};
  }
  if (name == "object") {
    return {
        name,
        [](const torch::Tensor& x) { return care::object_contrast(x); },
        BoxFinderOptions()
            .threshold(MapThreshold::kMean)
            .level(12)
            .merge_gap(0)
            .min_area(0.0005)};
  }
  if (name == "spectral") {
    return {
        name,
        [](const torch::Tensor& x) { return care::spectral_residual(x); },
        BoxFinderOptions().padding(0.9)};
  }
  if (name == "segmentation") {
    if (network.empty()) {
      throw std::invalid_argument(
          "--method segmentation: expected --network, a file of train_unet, "
          "but got none");
    }
    const auto trained = load_unet(network);
    const auto options = care::SegmentationOptions().input_size(trained.size);
    auto net = trained.net; // in evaluation mode, for all threads
    return {
        name,
        [net, options](const torch::Tensor& x) {
          return care::segment(
              x,
              [&](const torch::Tensor& input) {
                return net.ptr()->forward(input);
              },
              options);
        },
        // A network's outlines are sharp: no padding, and gaps stay.
        care::SegmentationOptions().finder().padding(1).merge_gap(0.01)};
  }
  throw std::invalid_argument(fmt::format(
      "--method: expected some of {}, but got {}",
      fmt::join(method_names(), ", "),
      name));
}

} // namespace

std::vector<std::string> method_names() {
  return {
      "background",
      "frequency",
      "lesion",
      "object",
      "spectral",
      "segmentation"};
}

std::vector<Method> make_methods(
    const std::vector<std::string>& names,
    const std::filesystem::path& network,
    const FinderChoice& choice) {
  std::vector<Method> methods;
  for (const auto& name : names) {
    for (const auto& before : methods) {
      if (before.name == name) {
        throw std::invalid_argument(fmt::format(
            "--method: expected each method once, but got {} twice", name));
      }
    }
    methods.push_back(make_method(name, network));
    apply(choice, methods.back().finder);
    // A wrong option is said here once, not for every picture.
    care::find_boxes(torch::zeros({1, 8, 8}), methods.back().finder);
  }
  return methods;
}

} // namespace auto_boxes
