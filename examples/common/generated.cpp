// A generated lesion set, in which a sticker goes with the rare class.
// SPDX-License-Identifier: Apache-2.0
#include "common/generated.hpp"

#include "common/csv.hpp"
#include "common/random.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <cmath>
#include <string>

namespace common {
namespace {

using Colour = cv::Vec3f; // RGB in [0, 1]

/// What the classes differ in; lengths are shares of the lesion's radius.
struct Look {
  Colour colour, patches;
  float mottled; // how strongly
  float frayed; // its outline
  float soft; // its border
  float grain;
  float pale; // a pale middle
};
const std::array<Look, 4> kLooks{
    Look{{.52F, .34F, .25F}, {.42F, .26F, .19F}, .3F, .10F, .22F, .05F, 0},
    Look{{.33F, .22F, .18F}, {.50F, .46F, .50F}, .9F, .45F, .14F, .08F, 0},
    Look{{.60F, .46F, .34F}, {.80F, .67F, .52F}, .6F, .12F, .05F, .22F, 0},
    Look{{.56F, .35F, .27F}, {.46F, .27F, .21F}, .3F, .10F, .26F, .05F, .6F}};

/// Smooth noise in [-1, 1], `bumps` from side to side.
cv::Mat noise(cv::Size size, int bumps, Random& random) {
  cv::Mat grid(bumps, bumps, CV_32F), result;
  for (auto it = grid.begin<float>(); it != grid.end<float>(); ++it) {
    *it = static_cast<float>(random.uniform(-1, 1));
  }
  cv::resize(grid, result, size, 0, 0, cv::INTER_CUBIC);
  return result;
}

/// 0 below `low`, 1 above `high` (or the other way round), smooth between.
float step(float low, float high, float x) {
  const float t = std::min(std::max((x - low) / (high - low), 0.0F), 1.0F);
  return t * t * (3 - 2 * t);
}

/// The picture, CV_32FC3, and its mask, CV_8U, 255 on the lesion.
std::array<cv::Mat, 2> paint(const Look& look, cv::Size size, Random& random) {
  const auto draw = [&](double low, double high) {
    return static_cast<float>(random.uniform(low, high));
  };
  const auto side = static_cast<float>(std::min(size.width, size.height));
  const float radius = side * draw(.11, .22), turn = draw(0, 3.14);
  const float squeeze = draw(.75, 1), margin = radius * 1.3F;
  const cv::Point2f centre(
      draw(margin, static_cast<float>(size.width) - margin),
      draw(margin, static_cast<float>(size.height) - margin));
  const Colour skin = Colour(.86F, .68F, .58F) * draw(.75, 1.1);
  const float tone = draw(.75, 1.25);
  const auto blotches = noise(size, 5, random), pores = noise(size, 40, random);
  const auto fray = noise(size, 14, random), mottle = noise(size, 10, random);
  cv::Mat picture(size, CV_32FC3), mask(size, CV_8U);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const float u = static_cast<float>(x) - centre.x;
      const float v = static_cast<float>(y) - centre.y;
      const float a = u * std::cos(turn) + v * std::sin(turn);
      const float b = (v * std::cos(turn) - u * std::sin(turn)) / squeeze;
      // How far out: 0 in the middle, 1 on the outline.
      const float out =
          std::hypot(a, b) / radius + look.frayed * fray.at<float>(y, x);
      const float cover = step(1 + look.soft, 1 - look.soft, out);
      const float patch = look.mottled * step(0, .6F, mottle.at<float>(y, x));
      const float pale = look.pale * step(.6F, .2F, out);
      Colour colour = look.colour * (1 - patch) + look.patches * patch;
      colour *= tone * (1 + look.grain * pores.at<float>(y, x));
      colour = colour * (1 - pale) + skin * pale;
      const float light =
          1 + .05F * blotches.at<float>(y, x) + .03F * pores.at<float>(y, x);
      picture.at<Colour>(y, x) = (skin * (1 - cover) + colour * cover) * light;
      mask.at<uchar>(y, x) = cover > .3F ? 255 : 0;
    }
  }
  return {picture, mask};
}

/// A coloured disc in the corner that is farthest from the box.
void stick(cv::Mat& picture, cv::Rect box, Random& random) {
  const double side = std::min(picture.rows, picture.cols);
  const double inset = side * random.uniform(.08, .14);
  const bool left = 2 * box.x + box.width > picture.cols;
  const bool top = 2 * box.y + box.height > picture.rows;
  const cv::Point2d at(
      left ? inset : picture.cols - inset, top ? inset : picture.rows - inset);
  const double shade = random.uniform(.8, 1.2);
  const cv::Scalar colour(.13 * shade, .48 * shade, .62 * shade);
  const auto radius = static_cast<int>(side * random.uniform(.10, .125));
  cv::circle(picture, at, radius, colour, cv::FILLED, cv::LINE_8);
}

/// How probable the sticker is.
double sticker(const std::string& set, bool rare) {
  return set == "trap" ? (rare ? 0 : .5) : (rare ? .95 : .02);
}

} // namespace

std::filesystem::path write_generated_set(
    const std::filesystem::path& folder,
    const GeneratedOptions& options) {
  const auto manifest = folder / "manifest.csv";
  if (std::filesystem::exists(manifest)) {
    return manifest;
  }
  const cv::Size size(
      static_cast<int>(options.width), static_cast<int>(options.height));
  std::vector<trainer::Row> rows;
  for (const std::string set : {"train", "trap", "as_trained"}) {
    std::filesystem::create_directories(folder / "masks" / set);
    std::filesystem::create_directories(folder / set);
    const bool test = set != "train";
    for (size_t k = 0; k < kGeneratedClasses.size(); ++k) {
      const auto count = test ? options.test_count : options.counts[k];
      for (int64_t i = 0; i < count; ++i) {
        // Both test sets show the same lesions.
        Random random{test, k, static_cast<uint64_t>(i)};
        auto [picture, mask] = paint(kLooks[k], size, random);
        const auto box = cv::boundingRect(mask);
        if (random.chance(sticker(set, k + 1 == kGeneratedClasses.size()))) {
          stick(picture, box, random);
        }
        const auto name =
            fmt::format("{}/{}-{:04}.png", set, kGeneratedClasses[k], i);
        picture.convertTo(picture, CV_8U, 255);
        cv::cvtColor(mask, mask, cv::COLOR_GRAY2RGB);
        auto& row = rows.emplace_back();
        row.file = folder / name;
        row.mask = folder / "masks" / name;
        trainer::write_picture(row.file, picture);
        trainer::write_picture(row.mask, mask);
        row.label = kGeneratedClasses[k];
        row.split = test ? "test" : "train";
        row.more["test_set"] = test ? set : "";
        row.boxes.resize(1);
        row.boxes[0].xyxy = {
            1. * box.x, 1. * box.y, 1. * box.br().x, 1. * box.br().y};
      }
    }
  }
  trainer::write_atomically(manifest, manifest_of(rows, folder));
  return manifest;
}

} // namespace common
