// Attention pictures: where networks look, side by side, as a page and a sheet.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_ATTENTION_PICTURES_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_ATTENTION_PICTURES_HPP

#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/run.hpp"
#include "resnet_trainer/settings.hpp"

#include "common/sample.hpp"

#include <care/boxes.hpp>

#include <torch/types.h>
#include <opencv2/core.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace trainer {

/// Where one network looked at one image.
struct Look {
  torch::Tensor map; ///< raw, `[h, w]`; undefined: no picture
  std::string prediction;
  double epg = kNaN;
};

/// One test image and a look for each network.
struct AttentionPicture {
  std::string id;
  std::string label; ///< the true class
  cv::Mat image; ///< RGB, 8 bits
  care::Boxes boxes; ///< of this image, in its pixels
  std::vector<Look> looks;
};

/// Test images down, networks across.
struct AttentionPictures {
  std::vector<std::string> networks; ///< the titles of the columns
  std::vector<AttentionPicture> rows; ///< in the order to be shown
};

/// Adds what `net` looks at for the true class of `samples`, as one column. The
/// first column brings the rows; later ones must be of the same samples.
void add_network(
    AttentionPictures& pictures,
    const std::string& title,
    const Settings& settings,
    ResNet& net,
    const std::vector<common::Sample>& samples,
    const std::vector<std::string>& classes);

/// The first `rows` pictures as one labelled sheet: the image with its boxes,
/// then each network. RGB, 8 bits. Throws std::invalid_argument without a
/// picture, and for one that is not RGB or has boxes of another size.
cv::Mat attention_sheet(const AttentionPictures& pictures, int64_t rows = 4);

/// A section of a page; empty without a picture.
std::string attention_html(const AttentionPictures& pictures);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_ATTENTION_PICTURES_HPP
