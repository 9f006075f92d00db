// Maps and boxes from any segmentation model.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SEGMENTATION_HPP
#define CARE_SEGMENTATION_HPP

#include <care/boxes.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/image.hpp>
#include <care/detail/main_output.hpp>
#include <care/detail/run_module.hpp>
#include <care/find_boxes.hpp>

#include <torch/arg.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace care {

/// What the floating point numbers a model returns are.
enum class MaskValues {
  kLogits, ///< one channel: through a sigmoid; several: through a softmax
  kProbabilities, ///< already in [0, 1]
};

/// Options of `segment` and `segmentation_boxes`.
struct SegmentationOptions {
  /// The size the model wants; 0 x 0 for that of the images. Default: 0 x 0.
  TORCH_ARG(Size, input_size) = Size{};
  /// Default: MaskValues::kLogits.
  TORCH_ARG(MaskValues, values) = MaskValues::kLogits;
  /// The channels (or integer labels) that are lesion; empty for all but 0. A
  /// single channel of numbers is that of lesion: then only {0} names it.
  TORCH_ARG(std::vector<int64_t>, foreground) = {};
  /// How `segmentation_boxes` makes boxes. Default: where the probability is at
  /// least one half.
  TORCH_ARG(BoxFinderOptions, finder) =
      BoxFinderOptions().threshold(MapThreshold::kFixed).level(0.5);
};

namespace detail {

/// What `model` makes of `images`, without a gradient; a module in evaluation
/// mode.
template <typename Model>
torch::Tensor run_model(Model& model, const torch::Tensor& images) {
  const char* where = "care::segment";
  const auto run = [&] {
    return main_output(where, run_module(where, model, images));
  };
  if constexpr (IsScript<Model>::value) {
    auto handle = model; // it may be const
    const EvaluationMode<decltype(handle)> mode(handle);
    return run();
  } else {
    if (auto* module = module_in(model)) {
      const EvaluationMode<torch::nn::Module> mode(*module);
      return run();
    }
    return run();
  }
}

/// `[N, 1, h, w]` float32 in [0, 1] from what the model returned.
inline torch::Tensor foreground_share(
    torch::Tensor output,
    int64_t images,
    const SegmentationOptions& options) {
  const char* where = "care::segment";
  if (output.defined() && output.dim() == 3) {
    output = output.unsqueeze(1);
  }
  TORCH_CHECK_VALUE(
      output.defined() && output.dim() == 4 && output.size(0) == images &&
          output.size(1) > 0 && output.size(2) > 0 && output.size(3) > 0,
      where,
      ": expected a model that returns [",
      images,
      ", K, h, w] or [",
      images,
      ", h, w], but got ",
      sizes_of(output));
  output = output.detach();
  const auto& wanted = options.foreground();
  if (!output.is_floating_point()) {
    TORCH_CHECK_VALUE(
        output.size(1) == 1,
        where,
        ": expected one plane of labels for each image, but got ",
        sizes_of(output));
    if (wanted.empty()) {
      return (output != 0).to(torch::kFloat);
    }
    auto mask =
        torch::zeros(output.sizes(), output.options().dtype(torch::kBool));
    for (const auto label : wanted) {
      mask = mask | (output == label);
    }
    return mask.to(torch::kFloat);
  }
  output = output.to(torch::kFloat);
  const auto channels = output.size(1);
  std::set<int64_t> lesion(wanted.begin(), wanted.end()); // each counts once
  for (const auto channel : lesion) {
    TORCH_CHECK_INDEX(
        channel >= 0 && channel < channels,
        where,
        ": expected foreground channels in [0, ",
        channels,
        "), but got ",
        channel);
  }
  if (options.values() == MaskValues::kLogits) {
    if (output.device().is_cpu() && output.numel() > 0) { // none is waited for
      const auto [low, high] = torch::aminmax(output);
      if (low.item<float>() >= 0 && high.item<float>() <= 1) {
        TORCH_WARN_ONCE(
            where,
            ": expected logits, but all values lie in [0, 1]: where these are "
            "probabilities, say "
            "SegmentationOptions().values(MaskValues::kProbabilities)");
      }
    }
    output = channels == 1 ? torch::sigmoid(output) : torch::softmax(output, 1);
  }
  // Those of each class: a sum would hide one that is none.
  output = checked_maps(where, output.flatten(1, 2), "probabilities")
               .view(output.sizes());
  if (channels == 1) {
    return output; // of lesion, and so is its channel 0
  }
  if (lesion.empty()) {
    return output.slice(1, 1).sum(1, /*keepdim=*/true).clamp_max(1);
  }
  const std::vector<int64_t> each(lesion.begin(), lesion.end());
  auto index = torch::tensor(each, torch::kLong).to(output.device());
  return output.index_select(1, index).sum(1, /*keepdim=*/true).clamp_max(1);
}

} // namespace detail

/// How likely each pixel is lesion, as a segmentation model sees it.
///
/// `model` is one of: a callable that takes images; a torch::nn module, or a
/// holder of or pointer to one, with `forward(images)`; a torch::jit::Module
/// (`torch::jit::load`, with <torch/script.h>). It is given the images, resized
/// if `input_size` says so, and returns, at any size, [N, 1, h, w] or [N, h, w]
/// (logits or probabilities of lesion), [N, K, h, w] (of K classes, 0 the
/// background), or integers or bools (labels or masks); or a struct with a
/// member `out`, a tuple of which that is the first, a dictionary with "out"
/// (of torchvision's networks). A module is run in evaluation mode, and each
/// part of it is put back into the mode it was in, also after an exception. No
/// gradient is recorded. The mean and deviation that many networks want taken
/// off are for the caller to take off, and the device is his too.
///
/// Shapes: images [N, C, H, W] floating -> [N, H, W] float32 in [0, 1], on the
/// model's device. Throws c10::ValueError for other shapes, NaN (the device is
/// waited for) and probabilities outside [0, 1], c10::IndexError for a
/// foreground channel that is not there.
///
///   auto maps = care::segment(images, [](const torch::Tensor& x) {
///     return x.mean(1, true) * 4 - 2; // logits
///   });
template <typename Model>
torch::Tensor segment(
    const torch::Tensor& images,
    Model&& model,
    const SegmentationOptions& options = {}) {
  const char* where = "care::segment";
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 4 && images.size(2) > 0 &&
          images.size(3) > 0,
      where,
      ": expected images of shape [N, C, H, W], but got ",
      detail::sizes_of(images));
  detail::check_floating(where, "images", images);
  const Size size{images.size(2), images.size(3)};
  const auto& wanted = options.input_size();
  TORCH_CHECK_VALUE(
      wanted == Size() || (wanted.height > 0 && wanted.width > 0),
      where,
      ": expected an input_size of at least 1x1, or 0x0, but got ",
      wanted);
  torch::NoGradGuard no_grad;
  if (images.size(0) == 0) {
    return torch::zeros(
        {0, size.height, size.width}, images.options().dtype(torch::kFloat));
  }
  auto input = images;
  if (wanted != Size()) { // which the CPU does not do in half precision
    input = detail::resized(detail::at_least_float(images), wanted)
                .to(images.scalar_type());
  }
  auto share = detail::foreground_share(
      detail::run_model(model, input), images.size(0), options);
  return detail::resized(share, size).squeeze(1).clamp(0, 1);
}

/// Boxes round what a segmentation model takes for lesion: `segment`, then
/// `find_boxes` with `options.finder()`. Each box's confidence is its contrast
/// in probability times the rest of the formula there.
template <typename Model>
FoundBoxes segmentation_boxes(
    const torch::Tensor& images,
    Model&& model,
    const SegmentationOptions& options = {}) {
  return find_boxes(
      segment(images, std::forward<Model>(model), options), options.finder());
}

} // namespace care

#endif // CARE_SEGMENTATION_HPP
