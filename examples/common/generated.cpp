// A generated lesion set: dermoscopy-like pictures, drawn from a seed.
// SPDX-License-Identifier: Apache-2.0
#include "common/generated.hpp"

#include "common/parallel.hpp"
#include "common/random.hpp"

#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace common {
namespace {

// Lengths are shares of the picture's shorter side, so that a picture looks
// alike at every size; colours are RGB in [0, 1].
using Colour = cv::Vec3f;
using Point = cv::Point2f;

constexpr float kPi = 3.14159265F;
constexpr int kFine = 2; // hairs and marks are drawn this much larger

float side_of(const cv::Mat& picture) {
  return static_cast<float>(std::min(picture.rows, picture.cols));
}

float draw(Random& random, double low, double high) {
  return static_cast<float>(random.uniform(low, high));
}

template <typename T>
T mix_of(const T& a, const T& b, float share) {
  return a * (1 - share) + b * share;
}

/// 0 below `low`, 1 above `high` (or the other way round), smooth between.
float smooth_step(float low, float high, float x) {
  const float t = std::clamp((x - low) / (high - low), 0.0F, 1.0F);
  return t * t * (3 - 2 * t);
}

/// Smooth noise, about -1 to 1, with one bump for every `cell` pixels.
cv::Mat noise(cv::Size size, float cell, Random& random) {
  cell = std::max(cell, 1.5F);
  const auto count = [&](int length) {
    return static_cast<int>(std::ceil(static_cast<float>(length) / cell)) + 2;
  };
  cv::Mat grid(count(size.height), count(size.width), CV_32F);
  for (auto it = grid.begin<float>(); it != grid.end<float>(); ++it) {
    *it = draw(random, -1, 1);
  }
  const cv::Matx23f zoom(cell, 0, -cell / 2, 0, cell, -cell / 2);
  cv::Mat result;
  cv::warpAffine(grid, result, zoom, size, cv::INTER_CUBIC, cv::BORDER_REFLECT);
  return result;
}

// ------------------------------------------------------------------ skin ---

cv::Mat draw_skin(cv::Size size, Random& random) {
  const float tone = draw(random, 0, 1);
  const Colour base = mix_of(
      mix_of(
          Colour(.95F, .80F, .74F),
          Colour(.93F, .77F, .65F),
          draw(random, 0, 1)),
      Colour(.80F, .60F, .48F),
      tone * tone);
  cv::Mat skin(size, CV_32FC3);
  const float side = side_of(skin);
  const auto blotches = noise(size, side * draw(random, .25, .5), random);
  const auto redness = noise(size, side * draw(random, .14, .25), random);
  const auto relief = noise(size, side * draw(random, .055, .085), random);
  const auto furrows = noise(size, side * draw(random, .04, .055), random);
  const auto grain = noise(size, side / 60, random);
  const float light = draw(random, 0, 2 * kPi), slope = draw(random, 0, .12);
  const float lines = draw(random, .01, .05);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const float u = static_cast<float>(x) / side - .5F;
      const float v = static_cast<float>(y) / side - .5F;
      const float line = smooth_step(.3F, 0, std::abs(furrows.at<float>(y, x)));
      const float shade = 1 + .05F * blotches.at<float>(y, x) +
          .025F * relief.at<float>(y, x) + .02F * grain.at<float>(y, x) -
          lines * line + slope * (u * std::cos(light) + v * std::sin(light));
      const float red = .03F * redness.at<float>(y, x);
      skin.at<Colour>(y, x) = base * shade + Colour(red / 2, -red, -red);
    }
  }
  return skin;
}

// --------------------------------------------------------------- lesions ---

/// What a lesion looks like; the classes differ in these numbers alone.
struct Look {
  Colour colour; // of most of it
  Colour patch_a, patch_b; // colours it is mottled with
  float patches = 0; // how strongly
  float core = 0; // darker towards the middle
  float rim = 0; // darker towards the border
  float network = 0; // a mesh of fine dark lines
  float grain = 0; // coarse texture
  float spots = 0; // share of bright and dark spots
  float pale = 0; // a pale patch in the middle
  float soft = 0; // width of the border, in radii
  float rough = 0; // how frayed the border is
  float lobes = 0; // how far the outline is from an ellipse
};

Look mix_of(const Look& a, const Look& b, float share) {
  const auto mixed = [&](auto member) {
    return mix_of(a.*member, b.*member, share);
  };
  Look look;
  for (auto member : {&Look::colour, &Look::patch_a, &Look::patch_b}) {
    look.*member = mixed(member);
  }
  for (auto member :
       {&Look::patches,
        &Look::core,
        &Look::rim,
        &Look::network,
        &Look::grain,
        &Look::spots,
        &Look::pale,
        &Look::soft,
        &Look::rough,
        &Look::lobes}) {
    look.*member = mixed(member);
  }
  return look;
}

/// Common, harmless: evenly brown, round, with a smooth border.
Look nevus(Random& random) {
  Look look;
  look.colour = mix_of(
      Colour(.66F, .45F, .33F), Colour(.38F, .23F, .16F), draw(random, 0, 1));
  look.patch_a = look.colour * .75F;
  look.patch_b = mix_of(look.colour, Colour(.78F, .58F, .46F), .5F);
  look.patches = draw(random, .1, .3);
  look.core = draw(random, 0, .35);
  look.network = draw(random, .05, .25);
  look.grain = .03F;
  look.pale = random.chance(.2) ? draw(random, .1, .35) : 0;
  look.soft = draw(random, .14, .28);
  look.rough = .03F;
  look.lobes = .05F;
  return look;
}

/// Asymmetric, frayed, dark, of several colours.
Look melanoma(Random& random) {
  const Colour blue_grey(.45F, .45F, .50F), red(.62F, .34F, .29F),
      white(.78F, .66F, .62F);
  const auto second = random.below(3);
  Look look;
  look.colour = mix_of(
      Colour(.44F, .27F, .18F), Colour(.27F, .17F, .13F), draw(random, 0, 1));
  look.patch_a = Colour(.11F, .08F, .08F);
  look.patch_b = second == 0 ? blue_grey : second == 1 ? red : white;
  look.patches = draw(random, .6, .95);
  look.network = draw(random, .05, .3);
  look.grain = draw(random, .04, .1);
  look.spots = draw(random, 0, .25);
  look.soft = draw(random, .08, .18);
  look.rough = draw(random, .12, .25);
  look.lobes = draw(random, .12, .24);
  return look;
}

/// Waxy, yellow to grey, rough, "stuck on" with a sharp edge.
Look keratosis(Random& random) {
  Look look;
  look.colour = mix_of(
      Colour(.72F, .55F, .38F), Colour(.47F, .38F, .31F), draw(random, 0, 1));
  look.patch_a = look.colour * .7F;
  look.patch_b = mix_of(look.colour, Colour(.84F, .71F, .56F), .5F);
  look.patches = draw(random, .3, .6);
  look.rim = draw(random, .1, .3);
  look.grain = draw(random, .08, .18);
  look.spots = draw(random, .3, .8);
  look.soft = draw(random, .03, .06);
  look.rough = draw(random, .02, .06);
  look.lobes = draw(random, .06, .14);
  return look;
}

/// Reddish brown with a pale patch in the middle, fading into the skin.
Look dermatofibroma(Random& random) {
  Look look = nevus(random);
  look.colour = mix_of(
      Colour(.72F, .44F, .37F), Colour(.54F, .29F, .23F), draw(random, 0, 1));
  look.patch_a = look.colour * .8F;
  look.patch_b = Colour(.80F, .54F, .48F);
  look.core = 0;
  look.pale = draw(random, .75, 1);
  look.soft = draw(random, .25, .4);
  return look;
}

Look look_of(int64_t target, float rare_contrast, Random& random) {
  switch (target) {
    case kMelanoma:
      return melanoma(random);
    case kKeratosis:
      return keratosis(random);
    case kDermatofibroma: {
      const auto plain = nevus(random);
      return mix_of(plain, dermatofibroma(random), rare_contrast);
    }
    default:
      return nevus(random);
  }
}

/// The outline: one radius for each degree, about a centre.
struct Outline {
  Point centre; // in pixels
  float reach = 0; // half its longer side, in pixels
  std::vector<float> radius; // 361 of them, in pixels

  float at(float degrees) const {
    const auto index = static_cast<size_t>(degrees);
    const float share = degrees - static_cast<float>(index);
    return mix_of(
        radius[index], radius[std::min<size_t>(index + 1, 360)], share);
  }
};

/// An ellipse with lobes, of 20 to 45 % of the side, somewhere in the picture.
Outline draw_outline(cv::Size size, float lobes, Random& random) {
  Outline outline;
  outline.radius.assign(361, 0);
  const float squeeze = draw(random, .72, 1), tilt = draw(random, 0, kPi);
  std::vector<cv::Vec2f> waves; // amplitude, phase
  for (int k = 2; k <= 7; ++k) {
    waves.emplace_back(
        lobes * draw(random, -1, 1) / static_cast<float>(k - 1) * 1.5F,
        draw(random, 0, 2 * kPi));
  }
  float left = 0, right = 0, top = 0, bottom = 0;
  for (size_t i = 0; i <= 360; ++i) {
    const float angle = static_cast<float>(i) * kPi / 180;
    float radius = 1 /
        std::hypot(std::cos(angle - tilt), std::sin(angle - tilt) / squeeze);
    float bulge = 1, order = 2;
    for (const auto& wave : waves) {
      bulge += wave[0] * std::cos(order++ * angle + wave[1]);
    }
    radius *= std::max(bulge, .4F);
    outline.radius[i] = radius;
    left = std::min(left, radius * std::cos(angle));
    right = std::max(right, radius * std::cos(angle));
    top = std::min(top, radius * std::sin(angle));
    bottom = std::max(bottom, radius * std::sin(angle));
  }
  const auto side = static_cast<float>(std::min(size.width, size.height));
  const float longer = std::max(right - left, bottom - top);
  const float zoom = side * draw(random, .20, .45) / longer;
  outline.reach = zoom * longer / 2;
  for (auto& radius : outline.radius) {
    radius *= zoom;
  }
  const float margin = .07F * side;
  outline.centre = {
      draw(
          random,
          margin - zoom * left,
          static_cast<float>(size.width) - margin - zoom * right),
      draw(
          random,
          margin - zoom * top,
          static_cast<float>(size.height) - margin - zoom * bottom)};
  return outline;
}

/// Paints the lesion on the skin and returns its mask.
cv::Mat paint_lesion(
    cv::Mat& whole,
    const Look& look,
    const Outline& outline,
    Random& random) {
  cv::Mat whole_mask(whole.size(), CV_8U, cv::Scalar(0));
  const float reach = outline.reach;
  const float most =
      *std::max_element(outline.radius.begin(), outline.radius.end()) *
      (1 + look.soft + look.rough * 1.3F);
  const Point corner(most, most);
  const cv::Rect part =
      cv::Rect(outline.centre - corner, outline.centre + corner) &
      cv::Rect({}, whole.size());
  cv::Mat picture = whole(part), mask = whole_mask(part);
  const Point centre = outline.centre - Point(part.tl());

  const auto size = part.size();
  const auto fray = noise(size, reach * .28F, random);
  const auto mottle_a = noise(size, reach * .8F, random);
  const auto mottle_b = noise(size, reach * .65F, random);
  const auto mesh = noise(size, reach * .13F, random);
  const auto grain = noise(size, reach * .12F, random);
  const auto dots = noise(size, reach * .2F, random);
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      const Point p =
          Point(static_cast<float>(x), static_cast<float>(y)) - centre;
      // How far out: 0 in the middle, 1 on the outline.
      const float out =
          std::hypot(p.x, p.y) / outline.at(cv::fastAtan2(p.y, p.x)) +
          look.rough * fray.at<float>(y, x);
      const float cover = smooth_step(1 + look.soft, 1 - look.soft, out);
      mask.at<uchar>(y, x) = cover > .3F ? 255 : 0;
      if (cover <= 0) {
        continue;
      }
      Colour colour = look.colour;
      colour = mix_of(
          colour,
          look.patch_a,
          look.patches * smooth_step(-.1F, .6F, mottle_a.at<float>(y, x)));
      colour = mix_of(
          colour,
          look.patch_b,
          look.patches * smooth_step(0, .7F, mottle_b.at<float>(y, x)));
      float shade = 1 - look.core * smooth_step(.8F, 0, out) -
          look.rim * smooth_step(.7F, 1, out) +
          look.grain * grain.at<float>(y, x) -
          look.network * smooth_step(.3F, 0, std::abs(mesh.at<float>(y, x)));
      const float dot = dots.at<float>(y, x);
      shade += .35F * look.spots * smooth_step(.45F, .7F, dot) -
          .6F * look.spots * smooth_step(-.5F, -.75F, dot);
      colour *= shade;
      const float middle =
          smooth_step(.62F, .22F, out + .18F * mottle_b.at<float>(y, x));
      colour = mix_of(colour, Colour(.90F, .74F, .68F), look.pale * middle);
      auto& skin = picture.at<Colour>(y, x);
      // Keep the skin's own relief and light.
      skin = mix_of(skin, colour * (.55F + .5F * skin[0]), cover);
    }
  }
  return whole_mask;
}

// ------------------------------------------------------------ bystanders ---

/// Lines and discs drawn finely, then laid on the picture in one colour.
class Overlay {
 public:
  explicit Overlay(cv::Size size) : mask_(size * kFine, CV_8U, cv::Scalar(0)) {}

  void line(const std::vector<Point>& points, float thickness) {
    std::vector<cv::Point> fixed;
    for (const auto& point : points) {
      fixed.push_back(fixed_point(point));
    }
    const int wide =
        std::max(1, static_cast<int>(std::lround(thickness * kFine)));
    cv::polylines(mask_, fixed, false, 255, wide, cv::LINE_AA, kShift);
  }
  void disc(Point centre, float radius) {
    const auto scaled = std::lround(radius * kFine * (1U << kShift));
    cv::circle(
        mask_,
        fixed_point(centre),
        static_cast<int>(scaled),
        255,
        cv::FILLED,
        cv::LINE_AA,
        kShift);
  }
  void blur(float radius) {
    cv::GaussianBlur(mask_, mask_, {}, static_cast<double>(radius * kFine));
  }
  void lay_on(cv::Mat& picture, const Colour& colour, float opacity) const {
    cv::Mat cover;
    cv::resize(mask_, cover, picture.size(), 0, 0, cv::INTER_AREA);
    for (int y = 0; y < picture.rows; ++y) {
      for (int x = 0; x < picture.cols; ++x) {
        auto& pixel = picture.at<Colour>(y, x);
        const float share = static_cast<float>(cover.at<uchar>(y, x)) / 255;
        pixel = mix_of(pixel, colour, opacity * share);
      }
    }
  }

 private:
  static constexpr int kShift = 4;
  static cv::Point fixed_point(Point point) {
    const auto fixed = point * static_cast<float>(kFine * (1 << kShift));
    return {static_cast<int>(fixed.x), static_cast<int>(fixed.y)};
  }
  cv::Mat mask_;
};

Point anywhere(const cv::Mat& picture, Random& random) {
  return {draw(random, 0, picture.cols), draw(random, 0, picture.rows)};
}

void draw_hairs(cv::Mat& picture, Random& random) {
  const float side = side_of(picture);
  const Colour colour =
      random.chance(.8) ? Colour(.16F, .11F, .09F) : Colour(.50F, .34F, .22F);
  const auto count = 1 + random.below(7);
  const float heading = draw(random, 0, kPi); // hairs lie about alike
  Overlay hairs(picture.size());
  for (int64_t i = 0; i < count; ++i) {
    const Point middle = anywhere(picture, random);
    const float angle = heading + draw(random, -.5, .5);
    const Point along(std::cos(angle), std::sin(angle));
    const Point across(-along.y, along.x);
    const float length = side * draw(random, .2, .6);
    const float bend = side * draw(random, -.12, .12);
    std::vector<Point> points;
    for (int k = 0; k <= 12; ++k) {
      const float t = static_cast<float>(k) / 6 - 1; // -1 to 1
      points.push_back(middle + along * (t * length) + across * (bend * t * t));
    }
    hairs.line(points, side * draw(random, .004, .011));
  }
  hairs.lay_on(picture, colour, draw(random, .55, .9));
}

void draw_ruler(cv::Mat& picture, Random& random) {
  const float side = side_of(picture);
  const float step = side * draw(random, .045, .07);
  const bool across = random.chance(.5), opposite = random.chance(.5);
  const auto length = static_cast<float>(across ? picture.cols : picture.rows);
  const auto depth = static_cast<float>(across ? picture.rows : picture.cols);
  const float base = draw(random, .005, .02) * side;
  Overlay ruler(picture.size());
  int tick = 0;
  for (float t = step * draw(random, 0, 1); t < length; t += step, ++tick) {
    const float reach = side * (tick % 5 == 0 ? .055F : .03F);
    const float from = opposite ? depth - base : base;
    const float to = opposite ? from - reach : from + reach;
    ruler.line(
        across ? std::vector<Point>{{t, from}, {t, to}}
               : std::vector<Point>{{from, t}, {to, t}},
        .007F * side);
  }
  ruler.lay_on(picture, Colour(.12F, .12F, .16F), draw(random, .6, .85));
}

void draw_bubbles(cv::Mat& picture, Random& random) {
  const float side = side_of(picture);
  Overlay rims(picture.size()), glints(picture.size());
  const auto count = 1 + random.below(6);
  for (int64_t i = 0; i < count; ++i) {
    const Point centre = anywhere(picture, random);
    const float radius = side * draw(random, .012, .045);
    std::vector<Point> ring;
    for (int k = 0; k <= 24; ++k) {
      const float angle = static_cast<float>(k) * kPi / 12;
      ring.push_back(centre + radius * Point(std::cos(angle), std::sin(angle)));
    }
    rims.line(ring, .006F * side);
    glints.disc(centre + radius * Point(-.35F, -.35F), .22F * radius);
  }
  rims.lay_on(picture, Colour(.98F, .95F, .92F), .4F);
  glints.lay_on(picture, Colour(1, 1, 1), .8F);
}

/// How far a point is from the picture's middle: .5 in the middle of a side.
float eccentricity(const cv::Mat& picture, Point p) {
  return std::hypot(
      p.x / static_cast<float>(picture.cols) - .5F,
      p.y / static_cast<float>(picture.rows) - .5F);
}

/// The dark corners of a dermoscope's round field of view.
void draw_vignette(cv::Mat& picture, Random& random) {
  const float inner = draw(random, .54, .62);
  const float outer = inner + draw(random, .04, .2);
  const float depth = draw(random, .5, .95);
  for (int y = 0; y < picture.rows; ++y) {
    for (int x = 0; x < picture.cols; ++x) {
      const Point p(static_cast<float>(x), static_cast<float>(y));
      picture.at<Colour>(y, x) *=
          1 - depth * smooth_step(inner, outer, eccentricity(picture, p));
    }
  }
}

/// A round coloured sticker at the border, away from the lesion.
void draw_sticker(cv::Mat& picture, cv::Rect lesion, Random& random) {
  const float side = side_of(picture);
  const auto width = static_cast<float>(picture.cols);
  const auto height = static_cast<float>(picture.rows);
  const float radius = side * draw(random, .10, .135);
  const std::array<Colour, 3> colours{
      Colour(.10F, .50F, .62F),
      Colour(.16F, .36F, .70F),
      Colour(.13F, .58F, .46F)};
  const Colour colour = colours[static_cast<size_t>(random.below(3))];

  const auto distance = [&](Point p) { // to the lesion's box
    const Point low = lesion.tl(), high = lesion.br();
    return std::hypot(
        std::max({low.x - p.x, 0.0F, p.x - high.x}),
        std::max({low.y - p.y, 0.0F, p.y - high.y}));
  };
  Point best(0, 0);
  for (int tries = 0; tries < 40; ++tries) {
    const float inset = radius * draw(random, .35, 1.15);
    Point p = anywhere(picture, random);
    (random.chance(.5) ? p.x : p.y) = inset;
    if (random.chance(.5)) {
      p = Point(width, height) - p;
    }
    p.x = std::clamp(p.x, inset, width - inset);
    p.y = std::clamp(p.y, inset, height - inset);
    const Point middle(width / 2, height / 2); // not in a dark corner
    p = middle + (p - middle) * std::min(1.0F, .5F / eccentricity(picture, p));
    if (tries == 0 || distance(p) > distance(best)) {
      best = p;
    }
    if (distance(best) > radius + .12F * side) {
      break;
    }
  }
  Overlay shadow(picture.size()), rim(picture.size()), disc(picture.size());
  shadow.disc(best + Point(.006F, .010F) * side, radius * 1.03F);
  shadow.blur(.010F * side);
  rim.disc(best, radius);
  disc.disc(best, radius * .93F);
  shadow.lay_on(picture, Colour(.2F, .12F, .1F), .5F);
  rim.lay_on(picture, colour * .8F, 1);
  disc.lay_on(picture, colour, 1);
}

// --------------------------------------------------------------- the set ---

int64_t class_at(const GeneratedOptions& options, int64_t index) {
  int64_t from = 0;
  for (size_t target = 0; target < kGeneratedClasses; ++target) {
    from += options.counts[target];
    if (index < from) {
      return static_cast<int64_t>(target);
    }
  }
  throw std::out_of_range(
      "draw_generated: expected an index below " + std::to_string(from) +
      ", but got " + std::to_string(index));
}

double sticker_probability(const GeneratedOptions& options, int64_t target) {
  const bool rare = target == kDermatofibroma;
  switch (options.bystander) {
    case Bystander::kAsTrained:
      return rare ? options.sticker_rare : options.sticker_other;
    case Bystander::kTrap:
      return rare ? 0 : options.sticker_trap;
    case Bystander::kNone:
      break;
  }
  return 0;
}

void check(const GeneratedOptions& options) {
  const auto fail = [](const std::string& expected) {
    throw std::invalid_argument("generated pictures: expected " + expected);
  };
  if (options.size.height < 32 || options.size.width < 32) {
    fail("a size of at least 32x32");
  }
  for (const auto count : options.counts) {
    if (count < 0) {
      fail("counts of at least 0");
    }
  }
  for (const auto share :
       {options.sticker_rare,
        options.sticker_other,
        options.sticker_trap,
        options.rare_contrast,
        options.clutter}) {
    if (!(share >= 0 && share <= 1)) {
      fail("probabilities, rare_contrast and clutter in [0, 1]");
    }
  }
}

} // namespace

std::vector<std::string> generated_classes() {
  return {"nevus", "melanoma", "keratosis", "dermatofibroma"};
}

GeneratedImage draw_generated(const GeneratedOptions& options, int64_t index) {
  check(options);
  const auto place = static_cast<uint64_t>(index);
  Random random(mix({options.seed, place}));
  Random sticker(mix({options.seed, place, 0x571c})); // apart: see the header
  const cv::Size size(
      static_cast<int>(options.size.width),
      static_cast<int>(options.size.height));

  GeneratedImage result;
  result.target = class_at(options, index);
  auto picture = draw_skin(size, random);
  const auto look =
      look_of(result.target, static_cast<float>(options.rare_contrast), random);
  const auto outline = draw_outline(size, look.lobes, random);
  result.mask = paint_lesion(picture, look, outline, random);
  result.box = cv::boundingRect(result.mask);
  cv::GaussianBlur(
      picture, picture, {}, .004 * std::min(size.width, size.height));

  if (random.chance(.6 * options.clutter)) {
    draw_bubbles(picture, random);
  }
  if (random.chance(.8 * options.clutter)) {
    draw_hairs(picture, random);
  }
  if (random.chance(.4 * options.clutter)) {
    draw_ruler(picture, random);
  }
  const bool vignette = random.chance(.4 * options.clutter);
  result.sticker = sticker.chance(sticker_probability(options, result.target));
  if (result.sticker) {
    draw_sticker(picture, result.box, sticker);
  }
  if (vignette) {
    draw_vignette(picture, random);
  }
  picture.convertTo(result.image, CV_8UC3, 255);
  return result;
}

std::vector<Sample> make_generated(const GeneratedOptions& options, int jobs) {
  check(options);
  cv::setNumThreads(0); // these threads are ours
  size_t count = 0;
  for (const auto of_class : options.counts) {
    count += static_cast<size_t>(of_class);
  }
  const auto names = generated_classes();
  std::vector<Sample> samples(count);
  parallel_for(count, jobs, [&](size_t i) {
    const auto drawn = draw_generated(options, static_cast<int64_t>(i));
    std::array<char, 32> number{};
    std::snprintf(number.data(), number.size(), "%05zu", i);
    auto& sample = samples[i];
    sample.id = names[static_cast<size_t>(drawn.target)] + "-" + number.data();
    sample.image = drawn.image;
    sample.target = drawn.target;
    const auto& box = drawn.box;
    sample.boxes = care::Boxes::from_lists(
        {{{static_cast<double>(box.x),
           static_cast<double>(box.y),
           static_cast<double>(box.x + box.width),
           static_cast<double>(box.y + box.height)}}},
        options.size);
  });
  return samples;
}

} // namespace common
