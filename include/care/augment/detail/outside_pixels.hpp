// Pixels inside and outside of regions: painted, averaged, blurred, softened.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_OUTSIDE_PIXELS_HPP
#define CARE_AUGMENT_DETAIL_OUTSIDE_PIXELS_HPP

#include <care/boxes.hpp>
#include <care/detail/image.hpp>
#include <care/detail/to_device.hpp>
#include <care/rasterize/detail/distance.hpp>
#include <care/size.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace care::detail {

/// The pixels that the boxes of each image touch: [N, H, W] bool on the host.
inline torch::Tensor touched_pixels(const Boxes& boxes) {
  const auto size = boxes.image_size();
  auto pixels =
      torch::zeros({boxes.num_images(), size.height, size.width}, torch::kBool);
  const auto xyxy =
      boxes.xyxy().detach().to(torch::kCPU, torch::kDouble).contiguous();
  const auto image = boxes.image_index().to(torch::kCPU).contiguous();
  const auto within = [](double x, int64_t length) {
    return static_cast<int64_t>(
        std::clamp(x, 0.0, static_cast<double>(length)));
  };
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const auto* box = xyxy.data_ptr<double>() + 4 * m;
    const auto x0 = within(std::floor(box[0]), size.width);
    const auto y0 = within(std::floor(box[1]), size.height);
    const auto x1 = within(std::ceil(box[2]), size.width);
    const auto y1 = within(std::ceil(box[3]), size.height);
    auto* first = pixels.data_ptr<bool>() +
        image.data_ptr<int64_t>()[m] * size.height * size.width;
    for (auto y = y0; y < y1; ++y) {
      std::fill(first + y * size.width + x0, first + y * size.width + x1, true);
    }
  }
  return pixels;
}

/// [R, C, 1, 1]: the mean colour of what lies outside of `region`
/// [R, 1, H, W] bool; 0 where nothing does.
inline torch::Tensor mean_outside(
    const torch::Tensor& images,
    const torch::Tensor& region) {
  const auto count = region.logical_not().sum({2, 3}, /*keepdim=*/true);
  return images.masked_fill(region, 0).sum({2, 3}, /*keepdim=*/true) /
      count.clamp_min(1);
}

/// [R, C, H, W]: what lies outside of `region` blurred over the whole image,
/// without anything of the region in it; its mean where the outside is far.
inline torch::Tensor blurred_outside(
    const torch::Tensor& images,
    const torch::Tensor& region,
    double share) {
  const auto c = images.size(1), h = images.size(2), w = images.size(3);
  const double sigma = share * static_cast<double>(std::min(h, w));
  // A blur needs no more than two pixels to its deviation.
  const auto step = std::max<int64_t>(1, static_cast<int64_t>(sigma / 2));
  const Size small{(h + step - 1) / step, (w + step - 1) / step};
  const auto kernel = to_device(
      gaussian_kernel(sigma / static_cast<double>(step))
          .to(images.scalar_type()),
      images.device());
  const auto outside = region.logical_not().to(images.scalar_type());
  const auto planes = resized(
      blurred(
          resized(torch::cat({images * outside, outside}, 1), small), kernel),
      {h, w});
  constexpr double kFar = 1e-4;
  return (planes.slice(1, 0, c) + mean_outside(images, region) * kFar) /
      (planes.slice(1, c) + kFar);
}

/// [R, C, H, W]: images with `region` filled by their mean outside, or, with a
/// `blur` above 0, by their outside blurred in.
inline torch::Tensor without_region(
    const torch::Tensor& images,
    const torch::Tensor& region,
    double blur) {
  return torch::where(
      region,
      blur > 0 ? blurred_outside(images, region, blur)
               : mean_outside(images, region),
      images);
}

/// 1 in `region` [R, 1, H, W] bool, falling to 0 within `pixels` outside of it
/// (city-block).
inline torch::Tensor softened(const torch::Tensor& region, int64_t pixels) {
  const auto distance = cityblock_to_mask(region.squeeze(1)).unsqueeze(1);
  return (1 - distance / static_cast<double>(pixels + 1)).clamp_min(0);
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_OUTSIDE_PIXELS_HPP
