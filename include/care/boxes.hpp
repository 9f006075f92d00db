// Boxes: a batch of lesion boxes, any number per image, that moves with it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BOXES_HPP
#define CARE_BOXES_HPP

#include <care/boxes/detail/batch.hpp>
#include <care/boxes/detail/moves.hpp>
#include <care/boxes/format.hpp>
#include <care/detail/check.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace care {

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
  Boxes() = default;

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
  /// pixel may really lie there. Fractions beyond [-2, 2] are refused in turn:
  /// they will be pixels.
  Boxes(
      torch::Tensor coordinates,
      torch::Tensor image,
      int64_t images,
      Size size,
      BoxFormat format = BoxFormat::kXYXY,
      torch::optional<BoxUnit> unit = torch::nullopt)
      : own_{std::move(coordinates), std::move(image), images, size, {}, {}} {
    const char* where = "care::Boxes";
    detail::check_shapes(where, own_);
    if (!unit) {
      detail::check_not_fractions(where, "boxes", own_.xyxy, size);
    } else if (*unit == BoxUnit::kFractions) {
      detail::check_fractions(where, "boxes", own_.xyxy);
    }
    own_.xyxy = detail::to_xyxy(
        own_.xyxy, format, unit.value_or(BoxUnit::kPixels), size);
    own_.image = own_.image.to(torch::kLong);
    detail::check_values(where, own_);
  }

  /// `images` images of one size without a box.
  static Boxes none(int64_t images, Size size) {
    return Boxes(
        torch::empty({0, 4}), torch::empty({0}, torch::kLong), images, size);
  }

  /// One list for each image, of {x0, y0, x1, y1} or as `format` says (COCO:
  /// kXYWH, YOLO: kCXCYWH); `unit` as above.
  static Boxes from_lists(
      const std::vector<std::vector<std::array<double, 4>>>& lists,
      Size size,
      torch::optional<BoxUnit> unit = torch::nullopt,
      BoxFormat format = BoxFormat::kXYXY) {
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
        format,
        unit);
  }

  /// Joins batches into one, image after image. Throws c10::ValueError unless
  /// all have the same image size; `Boxes()` takes no part. Boxes without
  /// weight weigh 1 beside weighted ones; boxes without a label stay unlabelled
  /// (-1).
  static Boxes collate(const std::vector<Boxes>& batches) {
    std::vector<detail::BoxBatch> parts;
    parts.reserve(batches.size());
    for (const auto& batch : batches) {
      parts.push_back(batch.own_);
    }
    return Boxes(detail::join_boxes("care::Boxes::collate", parts));
  }

  /// The same boxes with a weight (confidence) each: `[M]`, finite, at least
  /// 0. A box of weight 0 guides nothing, and is not background either.
  Boxes with_weights(const torch::Tensor& weight) const {
    detail::check_shape(
        "care::Boxes::with_weights", "weight", weight, {num_boxes()});
    const auto own = weight.to(own_.xyxy.options()); // which may overflow
    auto host = own.detach().to(torch::kCPU, torch::kDouble);
    detail::check_all(
        torch::isfinite(host) & (host >= 0),
        "care::Boxes::with_weights: expected finite weights of at least 0, but "
        "got ",
        host);
    auto result = *this;
    result.own_.weight = own;
    return result;
  }

  /// The boxes of a weight above 0, each counting in full: those of which a
  /// mask is made.
  Boxes counting() const {
    return has_weights() ? filter(weights() > 0).without_weights() : *this;
  }

  /// The same boxes, each counting in full.
  Boxes without_weights() const {
    auto result = *this;
    result.own_.weight = torch::Tensor();
    return result;
  }

  /// The same boxes with a class index each: `[M]` integers, -1 for a box that
  /// counts for whatever class its image has. c10::ValueError below that.
  Boxes with_labels(const torch::Tensor& label) const {
    detail::check_shape(
        "care::Boxes::with_labels", "label", label, {num_boxes()});
    detail::check_integral("care::Boxes::with_labels", "label", label);
    const auto host = label.to(torch::kCPU, torch::kLong); // a byte has no -1
    detail::check_all(
        host >= -1,
        "care::Boxes::with_labels: expected classes, or -1 for none, but got ",
        host);
    auto result = *this;
    result.own_.label = label.to(own_.image.options());
    return result;
  }

  /// `[M, 4]` x0, y0, x1, y1 in pixels.
  const torch::Tensor& xyxy() const {
    return own_.xyxy;
  }
  /// `[M]` int64, the image each box lies on.
  const torch::Tensor& image_index() const {
    return own_.image;
  }
  /// `[M]` weights; ones where none were given.
  torch::Tensor weights() const {
    return detail::weights_of(own_);
  }
  bool has_weights() const {
    return own_.weight.defined();
  }
  bool has_labels() const {
    return own_.label.defined();
  }
  /// `[M]` int64 class indices; -1 where none were given.
  torch::Tensor labels() const {
    return detail::labels_of(own_);
  }
  /// M, the number of boxes.
  int64_t num_boxes() const {
    return own_.xyxy.size(0);
  }
  /// N, the number of images.
  int64_t num_images() const {
    return own_.images;
  }
  /// The size of every image.
  Size image_size() const {
    return own_.size;
  }
  torch::Device device() const {
    return own_.xyxy.device();
  }
  /// Whether the coordinates or the weights do.
  bool requires_grad() const {
    return own_.xyxy.requires_grad() ||
        (own_.weight.defined() && own_.weight.requires_grad());
  }

  /// `[N]` int64, the number of boxes on each image.
  torch::Tensor boxes_per_image() const {
    return detail::counts_of(own_.image, own_.images);
  }

  /// `[M]` area of each box in square pixels.
  torch::Tensor areas() const {
    return (own_.xyxy.select(1, 2) - own_.xyxy.select(1, 0)) *
        (own_.xyxy.select(1, 3) - own_.xyxy.select(1, 1));
  }

  /// Moves to a device, or to another dtype (torch::kDouble; any other makes
  /// float32).
  Boxes to(torch::Device device) const {
    auto result = *this;
    for (auto* x :
         {&result.own_.xyxy,
          &result.own_.image,
          &result.own_.weight,
          &result.own_.label}) {
      *x = x->defined() ? x->to(device) : *x;
    }
    return result;
  }
  Boxes to(torch::Dtype dtype) const {
    auto result = *this;
    auto& own = result.own_;
    own.xyxy =
        own.xyxy.to(dtype == torch::kDouble ? torch::kDouble : torch::kFloat);
    own.weight =
        own.weight.defined() ? own.weight.to(own.xyxy.options()) : own.weight;
    return result;
  }

  /// The boxes for which `keep` (`[M]` bool) is true; all images stay. Boxes on
  /// a device wait for it, here and wherever some may be left out.
  Boxes filter(const torch::Tensor& keep) const {
    detail::check_shape("care::Boxes::filter", "keep", keep, {num_boxes()});
    TORCH_CHECK_TYPE(
        keep.scalar_type() == torch::kBool,
        "care::Boxes::filter: expected keep to hold bools, but got ",
        c10::toString(keep.scalar_type()));
    return Boxes(detail::filter_boxes(own_, keep.to(own_.xyxy.device())));
  }

  /// The images listed in `images` (`[K]` int64, each at most once), renumbered
  /// 0 to K-1 in that order, with their boxes. `images` are best kept on the
  /// host. Throws c10::IndexError for an index outside [0, num_images()),
  /// c10::ValueError for one that comes twice.
  Boxes select(const torch::Tensor& images) const {
    return Boxes(detail::select_images("care::Boxes::select", own_, images));
  }

  /// The boxes that speak for the class of their image: those labelled
  /// `target[image]` (`[N]` integers) and those without a label.
  Boxes for_classes(const torch::Tensor& target) const {
    const char* where = "care::Boxes::for_classes";
    detail::check_shape(where, "target", target, {own_.images});
    detail::check_integral(where, "target", target);
    if (!has_labels()) {
      return *this;
    }
    const auto wanted =
        target.to(own_.image.options()).index_select(0, own_.image);
    return filter((own_.label == wanted) | (own_.label < 0));
  }

  /// Cuts each box at the image's border and drops what lies outside. A box of
  /// whatever size, also one whose area is beyond its dtype, is cut alike.
  Boxes clip() const {
    return Boxes(detail::cut_boxes(own_, {0, 0}, own_.size, 0.0));
  }

  /// The boxes after the image was resized to `size`.
  Boxes resize(Size size) const {
    detail::check_size("care::Boxes::resize", size);
    return at(detail::scaled_boxes(own_.xyxy, own_.size, size), size);
  }

  /// The boxes after the image was mirrored left to right.
  Boxes hflip() const {
    return at(detail::mirrored_boxes(own_.xyxy, own_.size, true), own_.size);
  }

  /// The boxes after the image was mirrored top to bottom.
  Boxes vflip() const {
    return at(detail::mirrored_boxes(own_.xyxy, own_.size, false), own_.size);
  }

  /// The boxes after `torch::rot90(image, turns, {-2, -1})`: quarter turns,
  /// counter-clockwise; negative ones turn clockwise.
  Boxes rot90(int64_t turns = 1) const {
    auto result = *this;
    for (int64_t i = ((turns % 4) + 4) % 4; i > 0; --i) {
      const auto size = result.own_.size;
      result = result.at(
          detail::turned_boxes(result.own_.xyxy, size.width),
          {size.width, size.height});
    }
    return result;
  }

  /// The boxes after the image was cropped to `size`, from `left`, `top` on.
  ///
  /// A box of which less than `min_visible` (0 to 1) of the area that lay on
  /// the image is left is dropped: what the network cannot see must not guide
  /// it. Boxes on a device wait for it.
  Boxes crop(int64_t left, int64_t top, Size size, double min_visible = 0.25)
      const {
    detail::check_cut("care::Boxes::crop", size, min_visible);
    return Boxes(
        detail::cut_boxes(clip().own_, {left, top}, size, min_visible));
  }

  /// The boxes after an affine map of the image plane: `matrix` is {a, b, c, d,
  /// e, f} with x' = a x + b y + c and y' = d x + e y + f, in pixels (the
  /// corner of the image is 0, 0; OpenCV's matrices count from the first
  /// pixel's centre). Each box is cut at the border (what comes in from there
  /// is no lesion), becomes the box around its moved corners, is cut at the new
  /// image's border, and dropped when less than `min_visible` is left. Boxes on
  /// a device wait for it. Throws c10::ValueError for a matrix that is not
  /// finite.
  Boxes affine(
      const std::array<double, 6>& matrix,
      Size size,
      double min_visible = 0.25) const {
    const char* where = "care::Boxes::affine";
    detail::check_cut(where, size, min_visible);
    for (const double entry : matrix) {
      TORCH_CHECK_VALUE(
          std::isfinite(entry),
          where,
          ": expected a finite matrix, but got ",
          entry);
    }
    const auto own = clip().own_;
    const auto moved = own.at(detail::warped_boxes(own.xyxy, matrix), size);
    return Boxes(detail::cut_boxes(moved, {0, 0}, size, min_visible));
  }

  /// Each box scaled by `factor` about its own centre (the paper trains with
  /// 0.7 to 1.3). Not cut at the border. Waits for the device, to see that each
  /// box keeps an area.
  Boxes dilate(double factor) const {
    TORCH_CHECK_VALUE(
        factor > 0 && std::isfinite(factor),
        "care::Boxes::dilate: expected a factor above 0, but got ",
        factor);
    auto xyxy = detail::dilated_boxes(own_.xyxy, factor);
    detail::check_all(
        (xyxy.slice(1, 2) > xyxy.slice(1, 0, 2)).all(1).to(torch::kCPU),
        c10::str(
            "care::Boxes::dilate: expected a factor that leaves each box an "
            "area, but ",
            factor,
            " makes of one ")
            .c_str(),
        xyxy);
    return at(std::move(xyxy), own_.size);
  }

  /// Each box grown by `pixels` on every side. Not cut at the border.
  Boxes pad(double pixels) const {
    TORCH_CHECK_VALUE(
        pixels >= 0 && std::isfinite(pixels),
        "care::Boxes::pad: expected at least 0 pixels, but got ",
        pixels);
    return at(detail::padded_boxes(own_.xyxy, pixels), own_.size);
  }

  /// `[M, 4]` in another format and unit.
  torch::Tensor coordinates(BoxFormat format, BoxUnit unit = BoxUnit::kPixels)
      const {
    return detail::from_xyxy(own_.xyxy, format, unit, own_.size);
  }

 private:
  explicit Boxes(detail::BoxBatch own) : own_(std::move(own)) {}

  Boxes at(torch::Tensor xyxy, Size size) const {
    return Boxes(own_.at(std::move(xyxy), size));
  }

  detail::BoxBatch own_;
};

} // namespace care

#endif // CARE_BOXES_HPP
