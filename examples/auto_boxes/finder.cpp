// The methods by name: where the map comes from, and how it becomes boxes.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/finder.hpp"

#include "auto_boxes/unet.hpp"
#include "resnet_trainer/dataset.hpp" // boxes_on
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"

#include <care/auto_boxes.hpp>
#include <care/find_boxes.hpp>
#include <care/metrics/attention.hpp>
#include <care/rasterize.hpp>
#include <care/saliency.hpp>
#include <care/segmentation.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <torch/utils.h>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace auto_boxes {
namespace {

using care::BoxFinderOptions;
using care::MapThreshold;

struct Method {
  std::string name;
  /// Images [N, 3, H, W], RGB in [0, 1] -> maps [N, H, W] in [0, 1].
  std::function<torch::Tensor(const torch::Tensor&)> map;
  BoxFinderOptions boxes;
};

std::vector<Method> saliency_methods() {
  using Images = const torch::Tensor&;
  const auto mean = BoxFinderOptions().threshold(MapThreshold::kMean);
  const auto many =
      BoxFinderOptions(mean).level(12).merge_gap(0).min_area(0.0005);
  const auto otsu = BoxFinderOptions();
  const auto tight = BoxFinderOptions().padding(0.9);
  return {
      {"background", [](Images x) { return care::robust_background(x); }, mean},
      {"frequency", [](Images x) { return care::frequency_tuned(x); }, mean},
      {"lesion", [](Images x) { return care::lesion_contrast(x); }, otsu},
      {"object", [](Images x) { return care::object_contrast(x); }, many},
      {"spectral", [](Images x) { return care::spectral_residual(x); }, tight}};
}

Method segmentation(const std::filesystem::path& network) {
  if (network.empty()) {
    throw std::invalid_argument(
        "--method segmentation: expected --network, a file of train_unet, but "
        "got none");
  }
  const auto net = load_unet(network).ptr(); // in evaluation mode
  const auto options =
      care::SegmentationOptions().input_size(net->options.size);
  const auto map = [net, options](const torch::Tensor& x) {
    const auto logits = [&](const auto& input) { return net->forward(input); };
    return care::segment(x, logits, options);
  };
  // A network's outlines are sharp: no padding, and gaps stay.
  auto boxes = options.finder();
  return {"segmentation", map, boxes.padding(1).merge_gap(0.01)};
}

/// What the user wants otherwise.
void apply(const FinderOptions& options, BoxFinderOptions& boxes) {
  const std::map<std::string, MapThreshold> thresholds{
      {"otsu", MapThreshold::kOtsu},
      {"mean", MapThreshold::kMean},
      {"quantile", MapThreshold::kQuantile},
      {"fixed", MapThreshold::kFixed}};
  if (!options.threshold.empty()) {
    boxes.threshold(thresholds.at(options.threshold));
  }
  for (const auto& [name, x] : options.numbers) {
    name == "level"           ? boxes.level(x)
        : name == "min-area"  ? boxes.min_area(x)
        : name == "merge-gap" ? boxes.merge_gap(x)
        : name == "padding"   ? boxes.padding(x)
        : name == "max-boxes" ? boxes.max_boxes(std::llround(x))
                              : boxes.min_confidence(x);
  }
  // A wrong option is said here once, not for every picture.
  care::find_boxes(torch::zeros({1, 8, 8}), boxes);
}

std::vector<Method> make_methods(const FinderOptions& options) {
  std::vector<Method> methods;
  for (const auto& name : options.methods) {
    auto known = saliency_methods();
    if (name == "segmentation") {
      known.push_back(segmentation(options.network));
    }
    const auto is_it = [&](const Method& method) {
      return method.name == name;
    };
    const auto found = std::find_if(known.begin(), known.end(), is_it);
    if (found == known.end() ||
        std::any_of(methods.begin(), methods.end(), is_it)) {
      throw std::invalid_argument(fmt::format(
          "--method: expected some of {}, each once, but got {}",
          kMethods,
          fmt::join(options.methods, ", ")));
    }
    methods.push_back(*found);
    apply(options, methods.back().boxes);
  }
  const auto none = [&](const auto& does) {
    return std::none_of(methods.begin(), methods.end(), does);
  };
  if (!options.network.empty() &&
      none([](auto& method) { return method.name == "segmentation"; })) {
    throw std::invalid_argument(
        "--network: expected --method segmentation, which asks it");
  }
  if (options.numbers.count("level") > 0 && none([](auto& method) {
        return method.boxes.threshold() != MapThreshold::kOtsu;
      })) {
    throw std::invalid_argument(
        "--level: expected a --threshold that has one, but got Otsu's");
  }
  return methods;
}

/// What this thread has computed so far: other programs do not count.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) +
      1e-9 * static_cast<double>(time.tv_nsec);
}

/// The picture with the longer side shrunk to `side` pixels; 0: as it is.
cv::Mat shrunk(const cv::Mat& picture, int64_t side) {
  const auto longer = std::max(picture.rows, picture.cols);
  const auto factor =
      side <= 0 || longer <= side ? 1.0 : static_cast<double>(side) / longer;
  const auto length = [&](int stored) {
    return std::max(1, static_cast<int>(std::lround(factor * stored)));
  };
  return trainer::resized(
      picture, {length(picture.cols), length(picture.rows)});
}

/// Intersection over union of all boxes of one image, and all of another.
double area_iou(const care::Boxes& a, const care::Boxes& b) {
  // At 256 pixels a side or less, with the covered share of each.
  const auto size = a.image_size();
  const auto masks = care::pixel_mask(care::Boxes::collate({a, b}).resize(
      {std::min<int64_t>(size.height, 256),
       std::min<int64_t>(size.width, 256)}));
  return (masks.amin(0).sum() / masks.amax(0).sum()).item<double>();
}

/// The best intersection over union of one box [4] with any of many [M, 4].
double box_iou(const torch::Tensor& one, const torch::Tensor& many) {
  const auto area = [](const torch::Tensor& low, const torch::Tensor& high) {
    return (high - low).clamp_min(0).prod(-1);
  };
  const auto low = one.slice(0, 0, 2), high = one.slice(0, 2);
  const auto lows = many.slice(1, 0, 2), highs = many.slice(1, 2);
  const auto both = area(torch::max(low, lows), torch::min(high, highs));
  const auto any = area(low, high) + area(lows, highs) - both;
  return (both / any).max().item<double>();
}

Found find_on(
    const cv::Mat& picture,
    const trainer::Row& row,
    const std::vector<Method>& methods,
    int64_t side) {
  const care::Size stored{picture.rows, picture.cols};
  const auto manual = trainer::boxes_on(row, stored, /*weigh=*/false);
  const auto start = processor_seconds();
  const auto small = shrunk(picture, side);
  const auto image =
      torch::from_blob(small.data, {1, small.rows, small.cols, 3}, torch::kByte)
          .permute({0, 3, 1, 2})
          .contiguous()
          .to(torch::kFloat)
          .div_(255);
  torch::Tensor map; // of the last method that was tried
  std::vector<care::BoxMethod> chain;
  for (const auto& method : methods) {
    chain.push_back({method.name, [&](const torch::Tensor& x) {
                       map = method.map(x);
                       return care::find_boxes(map, method.boxes);
                     }});
  }
  const auto all = care::auto_boxes(image, chain);
  const auto boxes = all.boxes.resize(stored).clip();
  Found found;
  found.seconds = processor_seconds() - start;
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const auto xyxy = boxes.xyxy()[m].to(torch::kDouble).contiguous();
    auto& box = found.boxes.emplace_back();
    std::copy_n(xyxy.data_ptr<double>(), 4, box.xyxy.begin());
    const auto method = all.method[m].item<int64_t>();
    box.method = all.names[static_cast<size_t>(method)];
    box.confidence = all.confidence[m].item<double>();
  }
  if (manual.num_boxes() > 0) {
    const auto region =
        care::pixel_mask(manual.resize({small.rows, small.cols}));
    found.best_iou = care::best_iou(map, region).nan_to_num().item<double>();
  }
  if (manual.num_boxes() > 0 && boxes.num_boxes() > 0) {
    found.iou = box_iou(boxes.xyxy()[0], manual.xyxy());
    found.area_iou = area_iou(boxes.without_weights(), manual);
  }
  return found;
}

} // namespace

std::string identity(const FinderOptions& options) {
  auto text = fmt::format(
      "{}, side {}", fmt::join(options.methods, " else "), options.side);
  if (!options.threshold.empty()) {
    text += ", threshold " + options.threshold;
  }
  for (const auto& [name, number] : options.numbers) {
    text += fmt::format(", {} {}", name, number);
  }
  if (!options.network.empty()) {
    const auto bytes = trainer::read_file(options.network);
    text += ", network " + trainer::fingerprint(bytes);
  }
  return text;
}

Finder make_finder(const FinderOptions& options) {
  torch::set_num_threads(1);
  return [methods = make_methods(options), side = options.side](
             const cv::Mat& picture, const trainer::Row& row) {
    return find_on(picture, row, methods, side);
  };
}

} // namespace auto_boxes
