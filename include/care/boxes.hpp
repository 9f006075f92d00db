// Boxes: a batch of lesion boxes, any number per image, that moves with it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BOXES_HPP
#define CARE_BOXES_HPP

#include <care/detail/check.hpp>
#include <care/size.hpp>

#include <torch/types.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace care {

/// How the four numbers of a box are meant.
enum class BoxFormat {
  kXYXY, ///< left, top, right, bottom
  kXYWH, ///< left, top, width, height (COCO)
  kCXCYWH, ///< centre x, centre y, width, height (YOLO)
};

/// What the four numbers of a box are measured in.
enum class BoxUnit {
  kPixels,
  kFractions, ///< of the image's width (x) and height (y), 0 to 1
};

/// A batch of boxes on `num_images()` images of one `image_size()`.
///
/// A box is a half-open rectangle x0, y0, x1, y1 in pixels (x to the right, y
/// down) of the image that enters the network; fractions are allowed. All
/// boxes of a batch lie in one tensor, and a second one says which image each
/// belongs to; an image may have any number of boxes, also none. A box may
/// carry a weight (confidence) and a label (the class it is evidence for).
///
/// Boxes are values: every operation returns new ones, and the order of the
/// boxes is kept. Coordinates keep their autograd history. They may reach
/// beyond the image (the rasterizer clips); `clip` and `crop` cut them.
///
/// Keep boxes on the host in a training loop: which images are guided is then
/// decided without waiting for the device.
///
///   auto boxes = care::Boxes::from_lists(
///       {{{10, 20, 60, 80}}, {}}, {224, 224}); // 2 images, one without a box
///   boxes = boxes.hflip().resize({112, 112});
class Boxes {
 public:
  /// No image, no box.
  Boxes() : Boxes(Trusted{}, torch::empty({0, 4}), empty_index(), 0, {}) {}

  /// Takes `[M, 4]` coordinates and the `[M]` image each box lies on.
  ///
  /// Integer and half coordinates become float32; float and double stay.
  /// Throws c10::ValueError for a NaN, infinite, empty or inverted box and
  /// c10::IndexError for an image index outside [0, images). Device tensors
  /// are copied to the host for the check. Tensors are kept where they need no
  /// conversion, not copied: do not write to them afterwards.
  ///
  /// Without a `unit` the numbers are pixels, and c10::ValueError is thrown
  /// where all of them lie within [0, 1] although the image has more than 16
  /// pixels along each side: they will be fractions (YOLO's), which would
  /// guide into the corner pixel. Say BoxUnit::kPixels where a lesion of one
  /// pixel may really lie there.
  Boxes(
      torch::Tensor coordinates,
      torch::Tensor image,
      int64_t images,
      Size size,
      BoxFormat format = BoxFormat::kXYXY,
      torch::optional<BoxUnit> unit = torch::nullopt)
      : Boxes(
            Trusted{},
            std::move(coordinates),
            std::move(image),
            images,
            size) {
    check_shapes();
    if (!unit) {
      check_not_fractions();
    }
    xyxy_ = to_xyxy(
        as_floating(xyxy_), format, unit.value_or(BoxUnit::kPixels), size);
    check_values();
  }

  /// `images` images of one size without a box.
  static Boxes none(int64_t images, Size size) {
    return Boxes(torch::empty({0, 4}), empty_index(), images, size);
  }

  /// One list of {x0, y0, x1, y1} for each image; `unit` as above.
  static Boxes from_lists(
      const std::vector<std::vector<std::array<double, 4>>>& lists,
      Size size,
      torch::optional<BoxUnit> unit = torch::nullopt) {
    std::vector<double> numbers;
    std::vector<int64_t> image;
    for (size_t n = 0; n < lists.size(); ++n) {
      for (const auto& box : lists[n]) {
        numbers.insert(numbers.end(), box.begin(), box.end());
        image.push_back(static_cast<int64_t>(n));
      }
    }
    return Boxes(
        torch::tensor(numbers, torch::kDouble).view({-1, 4}).to(torch::kFloat),
        torch::tensor(image, torch::kLong),
        static_cast<int64_t>(lists.size()),
        size,
        BoxFormat::kXYXY,
        unit);
  }

  /// Joins batches into one, image after image. Throws c10::ValueError unless
  /// all have the same image size. Boxes without weight weigh 1 beside
  /// weighted ones; boxes without a label stay unlabelled (-1).
  static Boxes collate(const std::vector<Boxes>& batches) {
    if (batches.empty()) {
      return {};
    }
    bool weighted = false;
    bool labelled = false;
    int64_t images = 0;
    std::vector<torch::Tensor> xyxy, image, weight, label;
    for (const auto& part : batches) {
      weighted = weighted || part.weight_.defined();
      labelled = labelled || part.label_.defined();
    }
    for (size_t i = 0; i < batches.size(); ++i) {
      const auto& part = batches[i];
      TORCH_CHECK_VALUE(
          part.size_ == batches[0].size_,
          "care::Boxes::collate: expected images of ",
          batches[0].size_,
          ", but batch ",
          i,
          " has ",
          part.size_);
      xyxy.push_back(part.xyxy_);
      image.push_back(part.image_ + images);
      if (weighted) {
        weight.push_back(part.weights());
      }
      if (labelled) {
        label.push_back(part.labels());
      }
      images += part.images_;
    }
    Boxes joined(
        Trusted{},
        torch::cat(xyxy),
        torch::cat(image),
        images,
        batches[0].size_);
    joined.weight_ = weighted ? torch::cat(weight) : torch::Tensor();
    joined.label_ = labelled ? torch::cat(label) : torch::Tensor();
    return joined;
  }

  /// The same boxes with a weight (confidence) each: `[M]`, finite, at least
  /// 0. A box of weight 0 guides nothing, and is not background either.
  Boxes with_weights(const torch::Tensor& weight) const {
    detail::check_shape(
        "care::Boxes::with_weights", "weight", weight, {num_boxes()});
    const auto own = weight.to(xyxy_.options()); // which may overflow
    auto host = own.detach().to(torch::kCPU, torch::kDouble);
    detail::check_all(
        torch::isfinite(host) & (host >= 0),
        "care::Boxes::with_weights: expected finite weights of at least 0, but "
        "got ",
        host);
    auto result = *this;
    result.weight_ = own;
    return result;
  }

  /// The same boxes, each counting in full.
  Boxes without_weights() const {
    auto result = *this;
    result.weight_ = torch::Tensor();
    return result;
  }

  /// The same boxes with a class index each: `[M]` integers, -1 for a box that
  /// counts for whatever class its image has.
  Boxes with_labels(const torch::Tensor& label) const {
    detail::check_shape(
        "care::Boxes::with_labels", "label", label, {num_boxes()});
    detail::check_integral("care::Boxes::with_labels", "label", label);
    auto result = *this;
    result.label_ = label.to(image_.options());
    return result;
  }

  /// `[M, 4]` x0, y0, x1, y1 in pixels.
  const torch::Tensor& xyxy() const {
    return xyxy_;
  }
  /// `[M]` int64, the image each box lies on.
  const torch::Tensor& image_index() const {
    return image_;
  }
  /// `[M]` weights; ones where none were given.
  torch::Tensor weights() const {
    return weight_.defined()
        ? weight_
        : torch::ones({num_boxes()}, xyxy_.options().requires_grad(false));
  }
  bool has_weights() const {
    return weight_.defined();
  }
  bool has_labels() const {
    return label_.defined();
  }
  /// `[M]` int64 class indices; -1 where none were given.
  torch::Tensor labels() const {
    return label_.defined() ? label_
                            : torch::full({num_boxes()}, -1, image_.options());
  }
  /// M, the number of boxes.
  int64_t num_boxes() const {
    return xyxy_.size(0);
  }
  /// N, the number of images.
  int64_t num_images() const {
    return images_;
  }
  /// The size of every image.
  Size image_size() const {
    return size_;
  }
  torch::Device device() const {
    return xyxy_.device();
  }
  /// Whether the coordinates or the weights do.
  bool requires_grad() const {
    return xyxy_.requires_grad() ||
        (weight_.defined() && weight_.requires_grad());
  }

  /// `[N]` int64, the number of boxes on each image.
  torch::Tensor boxes_per_image() const {
    return torch::bincount(image_, {}, images_);
  }

  /// `[M]` area of each box in square pixels.
  torch::Tensor areas() const {
    return (xyxy_.select(1, 2) - xyxy_.select(1, 0)) *
        (xyxy_.select(1, 3) - xyxy_.select(1, 1));
  }

  /// Moves to a device, or to another dtype (torch::kDouble; any other makes
  /// float32).
  Boxes to(torch::Device device) const {
    auto result = *this;
    result.xyxy_ = xyxy_.to(device);
    result.image_ = image_.to(device);
    result.weight_ = weight_.defined() ? weight_.to(device) : weight_;
    result.label_ = label_.defined() ? label_.to(device) : label_;
    return result;
  }
  Boxes to(torch::Dtype dtype) const {
    auto result = *this;
    result.xyxy_ =
        xyxy_.to(dtype == torch::kDouble ? torch::kDouble : torch::kFloat);
    result.weight_ =
        weight_.defined() ? weight_.to(result.xyxy_.options()) : weight_;
    return result;
  }

  /// The boxes for which `keep` (`[M]` bool) is true; all images stay.
  Boxes filter(const torch::Tensor& keep) const {
    detail::check_shape("care::Boxes::filter", "keep", keep, {num_boxes()});
    auto rows = keep.nonzero().view(-1);
    auto result = *this;
    result.xyxy_ = xyxy_.index_select(0, rows);
    result.image_ = image_.index_select(0, rows);
    result.weight_ =
        weight_.defined() ? weight_.index_select(0, rows) : weight_;
    result.label_ = label_.defined() ? label_.index_select(0, rows) : label_;
    return result;
  }

  /// The images listed in `images` (`[K]` int64, each at most once), renumbered
  /// 0 to K-1 in that order, with their boxes. Throws c10::IndexError for an
  /// index outside [0, num_images()).
  Boxes select(const torch::Tensor& images) const {
    const char* where = "care::Boxes::select";
    detail::check_integral(where, "images", images);
    detail::check_shape(where, "images", images, {images.numel()});
    auto rows = images.to(image_.options());
    const bool on_host = rows.device().is_cpu();
    if (on_host) {
      const auto bad = detail::first_false((rows >= 0) & (rows < images_));
      TORCH_CHECK_INDEX(
          bad < 0,
          where,
          ": expected images in [0, ",
          images_,
          "), but images[",
          bad,
          "] is ",
          rows[bad < 0 ? 0 : bad].item<int64_t>());
    }
    auto position = torch::full({images_}, -1, image_.options());
    position.index_copy_(
        0, rows, torch::arange(rows.size(0), image_.options()));
    TORCH_CHECK_VALUE(
        !on_host || (position >= 0).sum().item<int64_t>() == rows.size(0),
        where,
        ": expected each image at most once, but got ",
        images);
    auto moved = position.index_select(0, image_);
    auto result = *this;
    result.image_ = moved;
    result = result.filter(moved >= 0);
    result.images_ = rows.size(0);
    return result;
  }

  /// The boxes that speak for the class of their image: those labelled
  /// `target[image]` (`[N]` integers) and those without a label.
  Boxes for_classes(const torch::Tensor& target) const {
    const char* where = "care::Boxes::for_classes";
    detail::check_shape(where, "target", target, {images_});
    detail::check_integral(where, "target", target);
    if (!label_.defined()) {
      return *this;
    }
    auto wanted = target.to(image_.options()).index_select(0, image_);
    return filter((label_ == wanted) | (label_ < 0));
  }

  /// Cuts each box at the image's border and drops what lies outside. A box of
  /// whatever size, also one whose area is beyond its dtype, is cut alike.
  Boxes clip() const {
    return cut({0, 0}, size_, 0.0);
  }

  /// The boxes after the image was resized to `size`.
  Boxes resize(Size size) const {
    check_size("care::Boxes::resize", size);
    auto result = scaled(
        static_cast<double>(size.width) / static_cast<double>(size_.width),
        static_cast<double>(size.height) / static_cast<double>(size_.height));
    result.size_ = size;
    return result;
  }

  /// The boxes after the image was mirrored left to right.
  Boxes hflip() const {
    auto side = xyxy_.unbind(1);
    auto w = size_.width;
    return moved({w - side[2], side[1], w - side[0], side[3]}, size_);
  }

  /// The boxes after the image was mirrored top to bottom.
  Boxes vflip() const {
    auto side = xyxy_.unbind(1);
    auto h = size_.height;
    return moved({side[0], h - side[3], side[2], h - side[1]}, size_);
  }

  /// The boxes after `torch::rot90(image, turns, {-2, -1})`: quarter turns,
  /// counter-clockwise; negative ones turn clockwise.
  Boxes rot90(int64_t turns = 1) const {
    auto result = *this;
    for (int64_t i = ((turns % 4) + 4) % 4; i > 0; --i) {
      auto side = result.xyxy_.unbind(1);
      auto w = result.size_.width;
      result = result.moved(
          {side[1], w - side[2], side[3], w - side[0]},
          {result.size_.width, result.size_.height});
    }
    return result;
  }

  /// The boxes after the image was cropped to `size`, from `left`, `top` on.
  ///
  /// A box of which less than `min_visible` (0 to 1) of the area is left is
  /// dropped: what the network cannot see must not guide it.
  Boxes crop(int64_t left, int64_t top, Size size, double min_visible = 0.25)
      const {
    check_size("care::Boxes::crop", size);
    check_share("care::Boxes::crop", min_visible);
    return cut({left, top}, size, min_visible);
  }

  /// The boxes after an affine map of the image plane: `matrix` is {a, b, c, d,
  /// e, f} with x' = a x + b y + c and y' = d x + e y + f, in pixels (the
  /// corner of the image is 0, 0; OpenCV's matrices count from the first
  /// pixel's centre). Each box becomes the box around its moved corners, is cut
  /// at the new image's border, and dropped when less than `min_visible` is
  /// left. Throws c10::ValueError for a matrix that is not finite.
  Boxes affine(
      const std::array<double, 6>& matrix,
      Size size,
      double min_visible = 0.25) const {
    check_size("care::Boxes::affine", size);
    check_share("care::Boxes::affine", min_visible);
    for (const double entry : matrix) {
      TORCH_CHECK_VALUE(
          std::isfinite(entry),
          "care::Boxes::affine: expected a finite matrix, but got ",
          entry);
    }
    auto side = xyxy_.unbind(1);
    auto x = torch::stack({side[0], side[2], side[0], side[2]}, 1);
    auto y = torch::stack({side[1], side[1], side[3], side[3]}, 1);
    auto u = x * matrix[0] + y * matrix[1] + matrix[2];
    auto v = x * matrix[3] + y * matrix[4] + matrix[5];
    return moved({u.amin(1), v.amin(1), u.amax(1), v.amax(1)}, size)
        .cut({0, 0}, size, min_visible);
  }

  /// Each box scaled by `factor` about its own centre (the paper trains with
  /// 0.7 to 1.3). Not cut at the border.
  Boxes dilate(double factor) const {
    TORCH_CHECK_VALUE(
        factor > 0 && std::isfinite(factor),
        "care::Boxes::dilate: expected a factor above 0, but got ",
        factor);
    auto side = xyxy_.unbind(1);
    auto x = side[0] / 2 + side[2] / 2, dx = (side[2] - side[0]) * (factor / 2);
    auto y = side[1] / 2 + side[3] / 2, dy = (side[3] - side[1]) * (factor / 2);
    return moved({x - dx, y - dy, x + dx, y + dy}, size_);
  }

  /// Each box grown by `pixels` on every side. Not cut at the border.
  Boxes pad(double pixels) const {
    TORCH_CHECK_VALUE(
        pixels >= 0 && std::isfinite(pixels),
        "care::Boxes::pad: expected at least 0 pixels, but got ",
        pixels);
    auto side = xyxy_.unbind(1);
    return moved(
        {side[0] - pixels,
         side[1] - pixels,
         side[2] + pixels,
         side[3] + pixels},
        size_);
  }

  /// `[M, 4]` in another format and unit.
  torch::Tensor coordinates(BoxFormat format, BoxUnit unit = BoxUnit::kPixels)
      const {
    auto side = xyxy_.unbind(1);
    auto w = side[2] - side[0], h = side[3] - side[1];
    auto out = xyxy_;
    if (format == BoxFormat::kXYWH) {
      out = torch::stack({side[0], side[1], w, h}, 1);
    } else if (format == BoxFormat::kCXCYWH) {
      out = torch::stack({side[0] + w / 2, side[1] + h / 2, w, h}, 1);
    }
    return unit == BoxUnit::kPixels ? out : out / unit_scale(out, size_);
  }

 private:
  struct Trusted {};

  Boxes(
      Trusted /*unused*/,
      torch::Tensor xyxy,
      torch::Tensor image,
      int64_t images,
      Size size)
      : xyxy_(std::move(xyxy)),
        image_(std::move(image)),
        images_(images),
        size_(size) {}

  static torch::Tensor empty_index() {
    return torch::empty({0}, torch::kLong);
  }

  static torch::Tensor as_floating(const torch::Tensor& x) {
    const bool keep =
        x.scalar_type() == torch::kFloat || x.scalar_type() == torch::kDouble;
    return keep ? x : x.to(torch::kFloat);
  }

  static torch::Tensor unit_scale(const torch::Tensor& like, Size size) {
    const auto w = static_cast<double>(size.width);
    const auto h = static_cast<double>(size.height);
    return torch::tensor({w, h, w, h}, torch::kDouble)
        .to(like.options().requires_grad(false));
  }

  static torch::Tensor to_xyxy(
      torch::Tensor box,
      BoxFormat format,
      BoxUnit unit,
      Size size) {
    if (unit == BoxUnit::kFractions) {
      box = box * unit_scale(box, size);
    }
    auto a = box.slice(1, 0, 2), b = box.slice(1, 2, 4);
    switch (format) {
      case BoxFormat::kXYWH:
        return torch::cat({a, a + b}, 1);
      case BoxFormat::kCXCYWH:
        return torch::cat({a - b / 2, a + b / 2}, 1);
      case BoxFormat::kXYXY:
        break;
    }
    return box;
  }

  static void check_size(const char* where, Size size) {
    TORCH_CHECK_VALUE(
        size.height > 0 && size.width > 0,
        where,
        ": expected a size of at least 1x1, but got ",
        size);
  }

  static void check_share(const char* where, double share) {
    TORCH_CHECK_VALUE(
        share >= 0 && share <= 1,
        where,
        ": expected min_visible in [0, 1], but got ",
        share);
  }

  void check_shapes() const {
    const char* where = "care::Boxes";
    TORCH_CHECK_VALUE(
        xyxy_.defined() && xyxy_.dim() == 2 && xyxy_.size(1) == 4,
        where,
        ": expected coordinates of shape [M, 4], but got ",
        detail::sizes_of(xyxy_));
    detail::check_shape(where, "image", image_, {num_boxes()});
    detail::check_integral(where, "image", image_);
    TORCH_CHECK_VALUE(
        image_.device() == xyxy_.device(),
        where,
        ": expected coordinates and image on one device, but got ",
        xyxy_.device(),
        " and ",
        image_.device());
    TORCH_CHECK_VALUE(
        images_ >= 0, where, ": expected images >= 0, but got ", images_);
    check_size(where, size_);
  }

  void check_not_fractions() const {
    if (num_boxes() == 0 || size_.height <= 16 || size_.width <= 16) {
      return;
    }
    const auto box = xyxy_.detach().to(torch::kCPU, torch::kDouble);
    TORCH_CHECK_VALUE(
        box.min().item<double>() < -1e-3 || // fractions may be rounded
            !(box.max().item<double>() <= 1 + 1e-3),
        "care::Boxes: expected pixels, but all ",
        num_boxes(),
        " boxes lie within [0, 1], on images of ",
        size_,
        "; say BoxUnit::kFractions if they are fractions of the image, "
        "BoxUnit::kPixels if they are not");
  }

  void check_values() {
    image_ = image_.to(torch::kLong);
    auto box = xyxy_.detach().to(torch::kCPU);
    auto image = image_.to(torch::kCPU);
    detail::check_all(
        torch::isfinite(box).all(1),
        "care::Boxes: expected finite coordinates, but got ",
        box);
    detail::check_all(
        (box.select(1, 2) > box.select(1, 0)) &
            (box.select(1, 3) > box.select(1, 1)),
        "care::Boxes: expected x0 < x1 and y0 < y1, but got ",
        box);
    const auto bad = detail::first_false((image >= 0) & (image < images_));
    TORCH_CHECK_INDEX(
        bad < 0,
        "care::Boxes: expected image indices in [0, ",
        images_,
        "), but image[",
        bad,
        "] is ",
        image[bad < 0 ? 0 : bad].item<int64_t>());
  }

  Boxes moved(const std::array<torch::Tensor, 4>& side, Size size) const {
    auto result = *this;
    result.xyxy_ = torch::stack({side[0], side[1], side[2], side[3]}, 1);
    result.size_ = size;
    return result;
  }

  Boxes scaled(double x, double y) const {
    auto side = xyxy_.unbind(1);
    return moved({side[0] * x, side[1] * y, side[2] * x, side[3] * y}, size_);
  }

  Boxes cut(std::array<int64_t, 2> corner, Size size, double min_visible)
      const {
    auto side = xyxy_.unbind(1);
    for (size_t i = 0; i < side.size(); ++i) {
      side[i] = side[i] - corner[i % 2];
    }
    auto x0 = side[0].clamp(0, size.width), x1 = side[2].clamp(0, size.width);
    auto y0 = side[1].clamp(0, size.height), y1 = side[3].clamp(0, size.height);
    auto keep = (x1 > x0) & (y1 > y0);
    if (min_visible > 0) { // else an area of infinity would make it NaN
      // Of the moved sides, which round as what is left of them does.
      auto whole = (side[2] - side[0]) * (side[3] - side[1]);
      keep = keep & ((x1 - x0) * (y1 - y0) >= min_visible * whole);
    }
    return moved({x0, y0, x1, y1}, size).filter(keep.detach());
  }

  torch::Tensor xyxy_; // [M, 4]
  torch::Tensor image_; // [M] int64
  torch::Tensor weight_; // [M] or undefined
  torch::Tensor label_; // [M] int64 or undefined
  int64_t images_ = 0;
  Size size_;
};

} // namespace care

#endif // CARE_BOXES_HPP
